from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sheet_panels import ATTENTION, IMAGE, colors_of_patches, colors_of_weights, panels
from small_model import random_images, save_small_model

from vit_hk.commands import sheets
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


def test_each_sheet_shows_the_prediction_and_the_attention_of_its_image(tmp_path, monkeypatch):
    drawn: dict[Path, Figure] = {}
    monkeypatch.setattr(sheets, "save_figure", lambda figure, path: drawn.update({path: figure}))
    model = load(save_small_model(tmp_path / "vit.safetensors"))
    images = random_images(2)
    predictions = model.predict(images)
    draw_sheets(model, predictions, [tmp_path / "0.png", tmp_path / "1.png"])
    for number, image in enumerate(images):
        figure = drawn[tmp_path / f"{number}.png"]
        percent = f"{100 * predictions.probabilities[number].max():.0f} %"
        assert figure.get_suptitle() == f"Predicted {predictions.names[number]} ({percent})"
        shown = panels(figure)
        np.testing.assert_array_equal(shown[IMAGE].images[0].get_array()[..., 0], image)
        # Two layers and heads; of the class token, the weights of the patches, which come last.
        maps = model.attention(image)[:, 0, :, 0, -6:].reshape(2, 2, 2, 3)
        colors = colors_of_patches(shown[ATTENTION], *maps.shape)
        np.testing.assert_array_equal(colors, colors_of_weights(maps))
