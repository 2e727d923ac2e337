"""The page shows class names exactly as they are, in a real browser."""

import pytest
from hostile_names import HOSTILE, OTHER_NAMES
from hypothesis import given
from mutations import mutations


def check_names(page, names: list[str]) -> None:
    """Assert that every place of the page that shows a class name shows exactly that name."""
    assert page.locator("#classes tbody th").all_text_contents() == names
    assert page.locator("#classes tbody bdi").all_inner_texts() == names
    assert page.locator(".matrix thead th").all_text_contents() == names
    assert page.locator(".matrix tbody th").all_text_contents() == names
    # Of the synthetic results, test image n has class n, and every fifth one is a mistake.
    pairs = [(names[n], names[(n + 1) % len(names)]) for n in range(0, 60, 5) if n < len(names)]
    texts = {f"true {label}, predicted {guess}" for label, guess in pairs}
    assert set(page.locator(".pair img").evaluate_all("all => all.map(i => i.alt)")) >= texts
    headings = page.locator(".pair h3").all_text_contents()
    assert {heading.rsplit(": ", 1)[0] for heading in headings} >= texts
    links = page.locator(".matrix a").evaluate_all("all => all.map(a => a.ariaLabel)")
    assert {link.split(": ", 1)[1] for link in links} >= texts
    images = page.locator(".images label span").all_text_contents()[:4]
    assert images == [
        f"true {names[0]}, predicted {names[1]}", *(f"true {name}" for name in names[1:4])
    ]  # fmt: skip
    for number in (0, 1):
        page.locator("input[name=image]").nth(number).check()
        prediction = page.locator("[data-part=prediction]").text_content()
        assert prediction.startswith(f"Test image {number}: {images[number]} (")


@pytest.fixture(scope="module")
def open_report(open_file, make_report, settings_of_tests):
    """Return a function that writes a report on classes of these names and opens it."""

    def run(names: list[str]):
        folder = make_report(settings_of_tests, class_names=tuple(names))
        opened = open_file(folder / "results" / "report.html")
        assert opened.problems == []
        assert opened.requests == []
        return opened.page

    return run


# A confusion matrix has at most 30 classes.
@mutations(2)  # the first name is a single letter
@given(other=OTHER_NAMES)
def test_any_names_are_shown_exactly(open_report, other):
    names = [*HOSTILE, other]
    page = open_report(names)
    check_names(page, names)
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert page.locator("main b").count() == 0
    page.close()


NUMBERED = ["cat", "כלב", "猫", "<b>犬</b>"]


@pytest.fixture(scope="module")
def page_with_numbers(open_report):
    """A page on a machine without a font for ideographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vit_hk.figures.fonts._choose_families", lambda _: [])
        page = open_report(NUMBERED)
    yield page
    page.close()


def test_numbers_in_figures_are_explained(page_with_numbers):
    assert " ".join(page_with_numbers.locator("#numbered").text_content().split()) == (
        "Numbers in figures stand for class names whose letters no font of this machine has: "
        "2 = 猫, 3 = <b>犬</b>."
    )
    check_names(page_with_numbers, NUMBERED)


def test_a_right_to_left_name_does_not_reorder_the_text_around_it(page_with_numbers):
    page = page_with_numbers
    # Horizontal positions of the name and of the number in "true cat, predicted כלב: 3 images".
    left_of = """([element, text]) => {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const start = walker.currentNode.textContent.indexOf(text);
        if (start < 0) continue;
        const range = document.createRange();
        range.setStart(walker.currentNode, start);
        range.setEnd(walker.currentNode, start + text.length);
        return range.getBoundingClientRect().left;
      }
    }"""
    page.evaluate("document.querySelectorAll('.pair').forEach(p => p.style.display = 'block')")
    heading = page.locator(".pair h3", has_text="predicted כלב").element_handle()
    assert heading.text_content().startswith("true cat, predicted כלב: ")
    positions = [page.evaluate(left_of, [heading, text]) for text in ("cat", "כלב", "image")]
    number = heading.text_content().split(": ")[1].split()[0]
    positions.insert(2, page.evaluate(left_of, [heading, f": {number}"]))
    assert positions == sorted(positions)


def test_hundreds_of_numbers_are_left_out(make_report, tree, monkeypatch, capsys):
    monkeypatch.setattr("vit_hk.figures.fonts._choose_families", lambda _: [])
    names = tuple(f"猫 {n}" for n in range(210))
    folder = make_report(tree, class_names=names, num_test=210, wrong=0.0)
    assert len(capsys.readouterr().err.splitlines()) == 1
    text = (folder / "results" / "report.html").read_text("utf-8")
    assert "199 = <bdi>猫 199</bdi>." in text
    assert "200 = " not in text
    assert "10 of 210 numbers" in text


def test_without_numbers_there_is_no_explanation(make_report, tree):
    folder = make_report(tree, class_names=("cat", "dog", "שלום"))
    assert "Numbers in figures" not in (folder / "results" / "report.html").read_text("utf-8")
