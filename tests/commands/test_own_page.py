"""Pages that commands write: what is there already stays."""

import os
from pathlib import Path

import pytest

from vit_hk.commands.own_page import check_own_page, write_page
from vit_hk.errors import UserError

PAGE = '<meta name="generator" content="a command">'


def test_an_own_page_is_replaced(tmp_path):
    path = tmp_path / "page.html"
    for _ in range(2):
        check_own_page(path, "a command")
        write_page(path, PAGE)
    assert path.read_text() == PAGE


@pytest.mark.parametrize("kind", ["file", "another page", "link to nothing", "pipe"])
def test_anything_else_is_not(tmp_path, one_line, kind):
    path = tmp_path / "page.html"
    match kind:
        case "file":
            path.write_text("notes")
        case "another page":
            path.write_text('<meta name="generator" content="another command">')
        case "link to nothing":
            path.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(UserError) as caught:
        check_own_page(path, "a command")
    assert f"{path} is there already and is no page of this command" in one_line(caught.value)
    assert os.path.lexists(path)


def test_a_device_is_not(one_line):
    with pytest.raises(UserError) as caught:
        check_own_page(Path("/dev/null"), "a command")
    assert "/dev/null is there already" in one_line(caught.value)
