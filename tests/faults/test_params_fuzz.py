"""Arbitrary content in params.yaml: valid settings or one short line, never a traceback."""

import copy
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutations

from vit_hk.errors import UserError
from vit_hk.params import MAX_BYTES, Config, load_config

SECTIONS = ("data", "model", "train", "evaluate", "attention")
WORDS = st.sampled_from(["seed", *SECTIONS, "augment", "shift", "epochs", "pool", "images", "name"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HUGE = st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, -(10**400), 1e308])
SCALARS = (
    st.none() | st.booleans() | st.integers() | HUGE | st.floats() | TEXT | WORDS | st.dates()
    | st.datetimes() | st.binary(max_size=9)
)  # fmt: skip
KEYS = WORDS | TEXT | st.integers() | st.booleans() | st.none() | st.floats()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "drop"]), st.integers(0, 99), KEYS, VALUES), max_size=3
)
FRAGMENTS = st.text("{}[]:,-?&*!|>'\"%@`#~<=. \n\t01289eExnayo_\\\0\x85é", max_size=12)


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


@pytest.fixture
def read(tmp_path, one_line) -> Callable[[str | bytes], Config | str]:
    """Return a function that loads content as a file, and returns settings or the message."""
    path = tmp_path / "params.yaml"

    def load(content: str | bytes) -> Config | str:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            return load_config(path)
        except UserError as error:
            message = one_line(error)
        assert message.startswith(str(path))
        assert len(message) < 1000
        return message.removeprefix(str(path))

    return load


def dump(tree: Any, **options: Any) -> str:
    return yaml.dump(tree, Dumper=_WithoutAliases, allow_unicode=True, **options)


def mappings(tree: dict) -> list[dict]:
    """Return a mapping and all mappings inside it."""
    return [tree] + [
        m for value in tree.values() if isinstance(value, dict) for m in mappings(value)
    ]


def paths(tree: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all keys, those of sections included."""
    found = []
    for name, value in tree.items():
        found.append((*above, name))
        found += paths(value, (*above, name)) if isinstance(value, dict) else []
    return found


def section_of(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the mapping that holds the last key of a path."""
    for name in path[:-1]:
        tree = tree[name]
    return tree


@mutations(150)
@given(number=st.integers(0, 999), value=VALUES)
def test_any_value_is_loaded_unchanged_or_its_key_is_named(read, tree, number, value):
    changed = copy.deepcopy(tree)  # Hypothesis gives the same fixture to all examples
    path = paths(changed)[number % len(paths(changed))]
    section_of(changed, path)[path[-1]] = value
    loaded = read(dump(changed))
    if isinstance(loaded, str):
        # A wrong key inside the value is reported by its line.
        assert path[-1] in loaded or "is not valid YAML at line " in loaded
    else:
        assert loaded.model_dump() == changed


@mutations(80)
@given(number=st.integers(0, 99), key=KEYS, value=SCALARS)
def test_any_unknown_key_is_refused_and_named(read, tree, number, key, value):
    changed = copy.deepcopy(tree)
    section = mappings(changed)[number % len(mappings(changed))]
    if key in section:
        return
    section[key] = value
    message = read(dump(changed))
    assert isinstance(message, str)
    shown = repr(key)[1:-1] if isinstance(key, str) and key and key.isprintable() else ""
    assert shown in message or "is not valid YAML at line " in message


@mutations(120)
@given(changes=CHANGES)
def test_any_change_of_the_tree_is_valid_or_refused(read, tree, changes):
    tree = copy.deepcopy(tree)
    for action, number, key, value in changes:
        section = mappings(tree)[number % len(mappings(tree))]
        if action == "put":
            section[key] = value
        elif section:
            del section[list(section)[number % len(section)]]
    loaded = read(dump(tree))
    # No value is converted silently.
    assert isinstance(loaded, str) or loaded.model_dump() == tree


@mutations(80)
@given(
    value=VALUES,
    path=st.sampled_from(
        [("seed",), ("model",), ("train", "augment"), ("attention", "images"), ("data", "root")]
    ),
)
def test_any_structure_in_flow_style_is_valid_or_refused(read, tree, value, path):
    # Flow style writes mappings and lists with braces and brackets.
    changed = copy.deepcopy(tree)
    section_of(changed, path)[path[-1]] = "PLACE"
    text = dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
    read(dump(changed).replace("PLACE", text, 1))


@mutations(80)
@given(content=st.binary(max_size=60) | FRAGMENTS.map(str.encode) | st.text(max_size=60).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_any_bytes_are_refused(read, content):
    assert isinstance(read(content), str)


@mutations(80)
@given(edits=st.lists(st.tuples(st.integers(0, 10_000), FRAGMENTS), min_size=1, max_size=3))
def test_any_damage_to_the_text_is_valid_or_refused(read, tree, edits):
    text = yaml.safe_dump(tree)
    for position, fragment in edits:
        start = position % len(text)
        text = text[:start] + fragment + text[start + len(fragment) // 2 :]
    read(text)


NOT_FINITE = [".nan", ".inf", "-.inf", "1e999", "-1e999"]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_numbers_that_are_not_finite_are_refused_everywhere(read, tree, value):
    for path in paths(tree):
        changed = copy.deepcopy(tree)
        section_of(changed, path)[path[-1]] = "PLACE"
        message = read(dump(changed).replace("PLACE", value))
        assert isinstance(message, str)
        assert path[-1] in message


# Malicious files.


def refused_in_little_memory(read: Callable[[str], Config | str], content: str) -> str:
    tracemalloc.start()
    try:
        message = read(content)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert isinstance(message, str)
    return message


def test_alias_bomb_is_refused_in_little_memory(read):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases are not allowed" in refused_in_little_memory(read, "\n".join(lines))


def test_file_of_ten_megabytes_is_refused_before_it_is_parsed(tmp_path, one_line):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 1\n" * 1_250_000)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            load_config(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert f"more than {MAX_BYTES:,} bytes" in one_line(caught.value)


def test_key_that_is_repeated_thousands_of_times_is_refused(read):
    assert "key 'seed' stands twice" in refused_in_little_memory(read, "seed: 1\n" * 2_000)


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 9000, "- " * 30_000], ids=["[", "{", "-"])
def test_deep_nesting_is_refused(read, text):
    assert "nested far too deep" in read(text)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [MARK]",
        "!!python/object:subprocess.Popen {}",
        "!!python/name:os.system",
        "!!bool maybe",
        "!!timestamp soon",
        "!!int ''",
        "!!map [a]",
        "!!set {a, b}",
        "!!str 3",
        "!mine 3",
        "! 3",
        "!<tag:%0a> 3",
    ],
)
def test_tags_are_refused_and_run_no_code(read, tmp_path, value):
    mark = tmp_path / "mark"
    message = read(f"seed: {value.replace('MARK', str(mark))}")
    assert "is not valid YAML at line 1, column 7: tags are not allowed" in message
    assert not mark.exists()
