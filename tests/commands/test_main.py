"""The program `python -m vit_hk` and its choice of commands."""

import subprocess
import sys

import pytest

from vit_hk.__main__ import COMMANDS, main

LIST_IMPORTS = """
import sys
from vit_hk.__main__ import main
for arguments in (["--help"], ["page", "--help"]):
    try:
        main(arguments)
    except SystemExit as exit_:
        assert exit_.code == 0
    print(*sorted(name for name in sys.modules if name.startswith("vit_hk.commands.")), file=sys.stderr)
    print(*sorted({"dvc", "jax", "numpy", "pandas"} & set(sys.modules)), file=sys.stderr)
"""  # noqa: E501


def test_help_imports_no_command_and_a_command_no_other_command():
    run = subprocess.run(
        [sys.executable, "-c", LIST_IMPORTS], capture_output=True, text=True, check=True
    )
    of_help, large_of_help, of_page, large_of_page = run.stderr.splitlines()
    assert (of_help, large_of_help) == ("", "")
    assert of_page == "vit_hk.commands.own_page vit_hk.commands.page"
    assert "jax" not in large_of_page


def test_help_names_each_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    for name, (summary, _) in COMMANDS.items():
        assert f"    {name} " in printed
        assert summary in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_describes_itself_and_its_arguments(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    printed = capsys.readouterr().out
    usage, description, *_ = printed.split("\n\n")
    assert usage.startswith(f"usage: python -m vit_hk {name} [-h]")
    assert len(description) > 40
