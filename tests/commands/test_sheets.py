from pathlib import Path

import pytest
from PIL import Image
from small_model import random_images, save_small_model

from vit_hk.commands.sheets import draw_sheets, sheet_paths
from vit_hk.errors import UserError
from vit_hk.trained_model import load


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["7.png"], ["7.png"]),
        (["digits/7.jpg", "/abs/digits/7.png"], ["digits_7.png", "abs_digits_7.png"]),
        (["a.png", "a.jpg", "a.png"], ["a.png", "a-2.png", "a-3.png"]),
        (["a/b.png", "a_b.png"], ["a_b.png", "a_b-2.png"]),
        (["../../etc/x.png", "..\\x.png"], ["etc_x.png", "x.png"]),
        (["z.zip/../évil 数.tar.gz"], ["z_zip_évil_数_tar.png"]),
        (["Cat.jpg", "cat.jpg", "CAT.png"], ["Cat.png", "cat-2.png", "CAT-3.png"]),
        (["...", "-", "stdin"], ["image.png", "-.png", "stdin.png"]),
        (["x" * 300 + ".png"], ["x" * 50 + ".png"]),
    ],
)
def test_names_of_sheets_are_stable_plain_and_different(files, expected):
    assert sheet_paths(Path("out"), files) == [Path("out") / name for name in expected]


def test_a_number_never_gives_the_name_of_another_image():
    paths = sheet_paths(Path("out"), ["a.png", "a.jpg", "a-2.png"])
    assert len(set(paths)) == 3


def test_sheets_that_are_there_are_not_replaced(tmp_path, one_line):
    (tmp_path / "b.png").write_text("mine")
    with pytest.raises(UserError) as caught:
        sheet_paths(tmp_path, ["a.jpg", "b.jpg"])
    assert f"{tmp_path / 'b.png'} is there already" in one_line(caught.value)


def test_sheets_are_drawn_the_same_each_time(tmp_path):
    model = load(save_small_model(tmp_path / "vit.safetensors"))
    predictions = model.predict(random_images(2))
    for folder in ("first", "second"):
        draw_sheets(model, predictions, [tmp_path / folder / f"{n}.png" for n in range(2)])
    for number in range(2):
        first, second = (tmp_path / name / f"{number}.png" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert Image.open(first).width > 500
