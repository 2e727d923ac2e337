"""The page has a bounded size, and names what it leaves out."""

import re
from pathlib import Path

import pytest
from synthetic_results import noise_png

MAX_BYTES = 5_000_000


def text_of(folder: Path) -> str:
    page = (folder / "results" / "report.html").read_bytes()
    assert len(page) < MAX_BYTES
    return " ".join(re.sub(r"<[^>]*>", " ", page.decode()).split())


@pytest.fixture
def model(tree) -> dict:
    tree["model"] |= {"num_layers": 6, "num_heads": 8, "pool": "cls", "registers": 0}
    return tree


def test_a_large_model_on_small_patches(make_report, model):
    # The page has no model for two channels, so that it cannot compute what is left out.
    text = text_of(make_report(model, image_shape=(28, 28, 2), num_images=12))
    # 6 layers, 8 heads, 50 x 49 shares of 2 bytes in base64: 313,600 characters an image; five fit.
    assert "for 7 of the 12 images above, where the query token is always the class token" in text


def test_attention_of_single_tokens_is_left_out_where_the_page_is_too_large_with_it(
    make_report, model, monkeypatch
):
    options = {"image_shape": (28, 28, 2), "num_images": 2}
    model["model"] |= {"num_layers": 1, "num_heads": 1, "patch_size": 2}
    whole = make_report(model, **options)
    assert "single patches and registers" not in text_of(whole)
    size = (whole / "results" / "report.html").stat().st_size
    monkeypatch.setattr("vit_hk.report.page.MAX_BYTES", size - 1)
    folder = make_report(model, **options)
    assert "single patches and registers for 2 of the 2 images above" in text_of(folder)
    assert (folder / "results" / "report.html").stat().st_size < size - 1


def test_the_model_takes_the_room_of_attention_that_it_can_compute(make_report, model, monkeypatch):
    options = {"image_shape": (28, 28, 1), "num_images": 4}
    model["model"] |= {"num_layers": 2, "patch_size": 4}

    def report() -> str:
        return (make_report(model, **options) / "results/report.html").read_text("utf-8")

    whole = report()
    monkeypatch.setattr("vit_hk.report.page.MAX_BYTES", len(whole.encode()) - 1)
    smaller = report()
    monkeypatch.setattr("vit_hk.report.page.MAX_BYTES", len(smaller.encode()) - 1)
    smallest = report()
    for page in (whole, smaller, smallest):
        assert 'id="try-data"' in page
        assert re.search(r'"pooled_attention": ?"[^"]', page)
    assert re.search(r'"token_attention": ?"[^"]', whole)
    assert not re.search(r'"token_attention": ?"[^"]', smaller)
    # Images of which no attention is stored.
    assert re.search(r'"pooled_attention": ?""', smaller)
    assert not re.search(r'"pooled_attention": ?""', smallest)


def test_a_bad_model_on_large_colour_images(make_report, model):
    model["model"]["patch_size"] = 8
    names = tuple(f"class {n}" for n in range(10))
    text = text_of(
        make_report(
            model, image_shape=(64, 64, 3), class_names=names, num_test=3000, wrong=1.0,
            num_images=45, figure=noise_png(300),
        )
    )  # fmt: skip
    assert re.search(r"pictures of 2,9\d\d of 3,000 mistakes", text)
    assert re.search(r"Left out to keep this page small: \d+ of 45 images", text)
    assert "Left out to keep this page small: results/attention/filters.png" in text


def test_hundreds_of_classes_with_long_names(make_report, tree):
    names = tuple(f"{'x' * 190} {n}" for n in range(210))
    folder = make_report(tree, class_names=names, num_test=420, wrong=1.0)
    text = text_of(folder)
    assert_links_reach_all_pictures(folder)
    assert re.search("Left out of this list: rarer pairs of classes, with [0-9]+ mistakes", text)
    assert "There are 210 classes, too many for a confusion matrix" in text
    assert "10 of 210 classes" in text
    assert "x" * 41 not in text


def assert_links_reach_all_pictures(folder: Path) -> None:
    page = (folder / "results" / "report.html").read_text("utf-8")
    sections = re.findall(r'<section class="pair" id="([^"]*)"', page)
    assert sections
    assert set(sections) == set(re.findall(r'href="#(pair-[^"]*)"', page))


def test_no_mistakes_of_many_classes(make_report, tree):
    names = tuple(f"class {n}" for n in range(40))
    text = text_of(make_report(tree, class_names=names, num_test=80, wrong=0.0))
    assert "No test image is misclassified." in text
    assert "The most frequent mistakes" not in text


def test_a_small_report_leaves_nothing_out(make_report, tree):
    text = text_of(make_report(tree))
    assert "Left out" not in text


def test_no_mistakes_at_all(make_report, tree):
    text = text_of(make_report(tree, wrong=0.0))
    assert "100.00 % of 60 test images" in text
    assert "predicted" not in text.split("Confusion matrix")[1].split("Classes")[0]


def test_one_mistake_of_many_images_is_not_rounded_away(make_report, tree):
    text = text_of(make_report(tree, num_test=30_000, wrong=1 / 30_000))
    assert "99.997 % of 30,000 test images" in text  # 29,999 / 30,000
    assert "1 mistake in 30,000 images" in text
    assert "100.00 % of" not in text
