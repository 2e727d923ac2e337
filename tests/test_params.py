import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from vit_hk.errors import UserError
from vit_hk.params import MAX_BYTES, Config, load_config

SECTIONS = ("data", "model", "train", "evaluate", "attention")


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key."""
    *sections, last = key.split(".")
    for name in sections:
        tree = tree[name]
    tree[last] = value


def drop(tree: dict[str, Any], key: str) -> None:
    """Delete a dotted key."""
    *sections, last = key.split(".")
    for name in sections:
        tree = tree[name]
    del tree[last]


def leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of all values."""
    keys = []
    for name, value in tree.items():
        keys += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return keys


@pytest.fixture
def refuse(tmp_path, one_line) -> Callable[[str | bytes | dict], str]:
    """Return a function that loads a file, which must be refused, and returns the message."""

    def read(content: str | bytes | dict) -> str:
        path = tmp_path / "params.yaml"
        text = yaml.safe_dump(content) if isinstance(content, dict) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(UserError) as caught:
            load_config(path)
        message = one_line(caught.value)
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    return read


@pytest.fixture
def accept(tmp_path) -> Callable[[str | dict], Config]:
    """Return a function that loads a file, which must be valid."""

    def read(content: str | dict) -> Config:
        path = tmp_path / "params.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
        return load_config(path)

    return read


def test_each_value_is_loaded_unchanged(accept, tree):
    assert accept(tree).model_dump() == tree


def test_committed_settings_are_valid(project):
    loaded = load_config(project / "params.yaml")
    assert loaded.model_dump() == yaml.safe_load((project / "params.yaml").read_text("utf-8"))


def test_patches_and_tokens_of_an_image(accept, tree):
    # 8 x 12 pixels in patches of 4: two rows of three.
    tree["model"] |= {"patch_size": 4, "registers": 2, "pool": "cls"}
    model = accept(tree).model
    assert model.grid((8, 12, 1)) == (2, 3)
    assert model.num_patches((8, 12, 1)) == 6
    assert model.num_tokens((8, 12, 1)) == 6 + 2 + 1
    tree["model"]["pool"] = "gap"
    assert accept(tree).model.num_tokens((8, 12, 1)) == 6 + 2


def test_settings_are_frozen(accept, tree):
    loaded = accept(tree)
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 1
    with pytest.raises(ValueError, match="frozen"):
        loaded.train.augment.shift = 1


@pytest.mark.parametrize(
    ("section", "key", "correct"),
    [
        ("", "sead", "seed"),
        ("", "plattform", "platform"),
        ("", "tarin", "train"),
        ("model.", "hiden_size", "model.hidden_size"),
        ("model.", "num-heads", "model.num_heads"),
        ("train.", "learning_rat", "train.learning_rate"),
        ("train.augment.", "shfit", "train.augment.shift"),
        ("train.augment.", "rotation", "train.augment.rotate"),
        ("attention.", "num_image", "attention.num_images"),
    ],
)
@pytest.mark.parametrize("replace", [True, False], ids=["instead", "in addition"])
def test_misspelt_key_suggests_the_closest_setting(refuse, tree, section, key, correct, replace):
    put(tree, section + key, 1)
    if replace:
        drop(tree, correct)
    message = refuse(tree)
    assert f"{section}{key} is not a setting" in message
    assert f"did you mean {correct}?" in message


def test_unknown_key_lists_the_allowed_ones(refuse, tree):
    put(tree, "evaluate.colour", "red")
    message = refuse(tree)
    assert "evaluate.colour is not a setting" in message
    assert "allowed: batch_size" in message
    assert "did you mean" not in message


def test_missing_key_is_named(refuse, tree):
    keys = leaves(tree)
    assert "train.augment.shift" in keys
    for key in keys:
        incomplete = copy.deepcopy(tree)
        drop(incomplete, key)
        assert f": {key} is missing" in refuse(incomplete)


@pytest.mark.parametrize("section", [*SECTIONS, "train.augment"])
def test_missing_section_is_named(refuse, tree, section):
    drop(tree, section)
    assert f": {section} is missing" in refuse(tree)


@pytest.mark.parametrize("section", [*SECTIONS, "train.augment"])
@pytest.mark.parametrize("value", [3, None, "text", [], [1]], ids=str)
def test_section_that_is_no_mapping_lists_its_keys(refuse, tree, section, value):
    put(tree, section, value)
    message = refuse(tree)
    assert f": {section} is {value!r}; allowed: a section with the keys " in message
    assert {"data": "name", "train.augment": "shift"}.get(section, "") in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", "10"),
        ("train.epochs", 10.0),
        ("train.epochs", True),
        ("train.epochs", [10]),
        ("train.epochs", None),
        ("train.epochs", {"a": 1}),
        ("seed", 0.5),
        ("seed", False),
        ("model.qk_norm", 1),
        ("model.qk_norm", 0),
        ("model.qk_norm", "false"),
        ("model.dropout", "0.1"),
        ("model.dropout", True),
        ("model.dropout", [0.1]),
        ("model.pool", 3),
        ("data.root", 3),
        ("attention.images", 3),
        ("attention.images", "0, 1"),
        ("train.precision", 16),
        ("train.scan_layers", "on"),
        ("train.remat", 1),
    ],
)
def test_wrong_type_is_refused(refuse, tree, key, value):
    put(tree, key, value)
    assert f": {key} is {value!r}; allowed: " in refuse(tree)


@pytest.mark.parametrize("key", ["train.learning_rate", "train.weight_decay", "train.sam_rho"])
def test_whole_number_that_no_float_holds_is_refused(refuse, tree, key):
    put(tree, key, 2**53 + 1)
    assert f": {key} is 9007199254740993; allowed: a whole number up to 2**53" in refuse(tree)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize(
    "key", ["train.learning_rate", "train.warmup_epochs", "model.dropout", "train.grad_clip"]
)
def test_number_that_is_not_finite_is_refused(refuse, tree, key, value):
    put(tree, key, value)
    assert f": {key} is {value}; allowed: " in refuse(tree)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("platform", "tpu"),
        ("model.patch_size", 0),
        ("model.stem", "convolution"),
        ("model.num_layers", 0),
        ("model.num_heads", 0),
        ("model.registers", -1),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("model.drop_path", 1.0),
        ("model.drop_path", 0.99999999),
        ("model.pool", "mean"),
        ("model.position", "Learned"),
        ("train.init_from", ""),
        ("train.init_from", "~/digits.safetensors"),
        ("train.init_from", None),
        ("train.layer_decay", 0.0),
        ("train.layer_decay", 1.01),
        ("train.freeze", "head"),
        ("train.epochs", 0),
        ("train.epochs", -3),
        ("train.batch_size", 0),
        ("train.optimizer", "sgd"),
        ("train.learning_rate", 0.0),
        ("train.learning_rate", -0.1),
        ("train.warmup_epochs", -0.5),
        ("train.weight_decay", -0.05),
        ("train.label_smoothing", 1.0),
        ("train.grad_clip", -1.0),
        ("train.sam_rho", -0.05),
        ("train.ema_decay", 1.0),
        ("train.validation_fraction", 0.0),
        ("train.validation_fraction", 1.0),
        ("train.augment.shift", -1),
        ("train.augment.rotate", -1.0),
        ("train.augment.rotate", 180.5),
        ("train.augment.scale", 1.0),
        ("train.augment.elastic", -0.5),
        ("train.augment.flip", 1),
        ("train.augment.trivial", "wide"),
        ("train.augment.erase", 1.5),
        ("train.augment.mixup", -0.1),
        ("train.augment.cutmix", 1000.5),
        ("train.precision", "float16"),
        ("evaluate.batch_size", 0),
        ("evaluate.faithfulness_share", 0),
        ("evaluate.corruption_share", 1.5),
        ("train.snapshot_epochs", 3),
        ("attention.head_fusion", "median"),
        ("attention.discard_ratio", 1.0),
        ("attention.num_images", 0),
        ("data.name", "minst"),
        ("data.offline", "yes"),
    ],
)
def test_value_out_of_range_is_refused(refuse, tree, key, value):
    put(tree, key, value)
    assert f": {key} is {value!r}; allowed: " in refuse(tree)


def test_choices_are_listed(refuse, tree):
    put(tree, "data.name", "minst")
    message = refuse(tree)
    assert all(name in message for name in ("'mnist'", "'fashion_mnist'", "'kmnist'", "'cifar10'"))


def test_corruptions_are_known_names_each_once(refuse, tree):
    put(tree, "evaluate.corruptions", ["thin", "fog"])
    message = refuse(tree)
    assert (
        ": evaluate.corruptions.1 is 'fog'; allowed: 'gaussian_noise', 'impulse_noise'" in message
    )
    for names in ([], ["thin", "thin"]):
        put(tree, "evaluate.corruptions", names)
        assert f": evaluate.corruptions is {names}; allowed, at least one, each once: gauss" in (
            refuse(tree)
        )


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_mixing_needs_two_images(refuse, accept, tree, key):
    put(tree, f"train.augment.{key}", 0.5)
    put(tree, "train.batch_size", 2)
    accept(tree)
    put(tree, "train.batch_size", 1)
    assert "train.batch_size is 1; " in refuse(tree)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.dropout", 0.0),
        ("model.dropout", 0),  # an integer where a float is expected
        ("train.learning_rate", 1),
        ("train.warmup_epochs", 0),
        ("train.warmup_epochs", 1.99),
        ("train.grad_clip", 0.0),
        ("train.grad_clip", 2**53),
        ("train.augment.rotate", 180),
        ("train.augment.scale", 0.99),
        ("seed", 2**32 - 1),
        ("attention.images", [0, 42]),
        ("attention.num_wrong", 3),
        ("data.root", "/big disk/~/données"),
    ],
)
def test_value_at_the_edge_is_accepted(accept, tree, key, value):
    put(tree, key, value)
    assert accept(tree).model_dump() == tree


@pytest.mark.parametrize("path", ["新しい\u3000写真", "क्\u200dष", "a\u00a0b"], ids=ascii)
def test_paths_in_any_script_are_accepted(accept, tree, path):
    put(tree, "data.root", path)
    put(tree, "train.init_from", path)
    config = accept(tree)
    assert (config.data.root, config.train.init_from) == (path, path)


@pytest.mark.parametrize("root", ["", "  ", "a\0b", "a\nb", "\ud800"], ids=repr)
def test_invalid_root_is_refused(refuse, tree, root):
    put(tree, "data.root", "PLACE")
    text = yaml.safe_dump(tree).replace("PLACE", '"' + root.encode("unicode_escape").decode() + '"')
    assert f": data.root is {root!r}" in refuse(text)


def test_hidden_size_must_be_a_multiple_of_the_heads(refuse, tree):
    tree["model"] |= {"hidden_size": 10, "num_heads": 4, "position": "learned"}
    message = refuse(tree)
    assert "model.hidden_size is 10" in message
    assert "model.num_heads = 4" in message


def test_sincos2d_needs_a_multiple_of_four(refuse, accept, tree):
    tree["model"] |= {"hidden_size": 6, "num_heads": 3, "position": "sincos2d"}
    assert "model.hidden_size is 6; model.position = sincos2d needs a multiple of 4" in refuse(tree)
    tree["model"]["position"] = "learned"
    assert accept(tree).model.hidden_size == 6


@pytest.mark.parametrize("warmup", [2, 2.0, 5])
def test_warmup_must_end_before_the_training(refuse, tree, warmup):
    tree["train"] |= {"epochs": 2, "warmup_epochs": warmup}
    message = refuse(tree)
    assert f"train.warmup_epochs is {warmup:g}, train.epochs is 2" in message


@pytest.mark.parametrize("epochs", [[2, 1], [1, 1], list(range(1, 22))], ids=str)
def test_snapshot_epochs_are_at_most_20_and_rise(refuse, tree, epochs):
    put(tree, "train.snapshot_epochs", epochs)
    assert "; allowed: at most 20 rising numbers" in refuse(tree)


@pytest.mark.parametrize("epochs", [[], [1], list(range(1, 21))], ids=str)
def test_snapshot_epochs_may_be_none_or_many(accept, tree, epochs):
    put(tree, "train.snapshot_epochs", epochs)
    assert accept(tree).train.snapshot_epochs == epochs


def test_snapshot_epochs_count_from_1(refuse, tree):
    put(tree, "train.snapshot_epochs", [0, 1])
    assert ": train.snapshot_epochs.0 is 0; allowed: " in refuse(tree)


@pytest.mark.parametrize(
    ("frozen", "found"),
    [
        (["head", "bodies"], "'bodies'"),
        (["block_2"], "'block_2'"),
        (["position"], "'position'"),  # there is none with sincos2d
        (["norm", "patches", "norm"], "'norm' twice"),
    ],
)
def test_frozen_parts_are_those_of_the_model_each_once(refuse, tree, frozen, found):
    put(tree, "train.freeze", frozen)
    put(tree, "train.init_from", "models/digits.safetensors")
    assert refuse(tree).endswith(
        f"train.freeze holds {found}; allowed, each once: patches, registers, norm, head, block_0 "
        "to block_1"
    )


def test_frozen_parts_depend_on_the_model(accept, tree):
    tree["model"] |= {"pool": "cls", "position": "learned", "registers": 0, "num_layers": 3}
    put(tree, "train.freeze", ["class_token", "position", "block_2"])
    assert accept(tree).train.freeze == ["class_token", "position", "block_2"]


def test_something_must_be_trained(refuse, tree):
    put(tree, "train.init_from", "models/digits.safetensors")
    put(tree, "train.freeze", ["patches", "registers", "block_0", "block_1", "norm", "head"])
    assert "train.freeze holds all parts of the model; leave one out" in refuse(tree)


def test_frozen_head_needs_weights_to_start_from(refuse, accept, tree):
    put(tree, "train.freeze", ["head"])
    assert "train.freeze holds 'head', whose first weights are zeros" in refuse(tree)
    put(tree, "train.init_from", "models/digits.safetensors")
    assert accept(tree).train.starts_from_file


def test_more_mistakes_than_images_are_refused(refuse, tree):
    tree["attention"] |= {"num_images": 2, "num_wrong": 3}
    message = refuse(tree)
    assert "attention.num_wrong is 3, more than attention.num_images = 2" in message


@pytest.mark.parametrize("images", [[1, 1], list(range(101))], ids=["twice", "too many"])
def test_images_are_at_most_100_each_once(refuse, tree, images):
    put(tree, "attention.images", images)
    assert "; allowed: at most 100 indices, each once" in refuse(tree)


@pytest.mark.parametrize("index", [-1, "a", 1.0, True])
def test_wrong_index_is_named_by_its_position(refuse, tree, index):
    put(tree, "attention.images", [5, index])
    assert f": attention.images.1 is {index!r}; allowed: " in refuse(tree)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "~", "---\n"], ids=repr)
def test_empty_file_lists_the_sections(refuse, text):
    message = refuse(text)
    assert message.startswith(" is empty")
    assert all(key in message for key in ("seed", "platform", *SECTIONS))


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n- b", "list"), ("just text", "str"), ("3", "int")]
)
def test_file_without_mapping_is_refused(refuse, text, kind):
    assert refuse(text).startswith(f" is a {kind}, not settings")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("seed: [1, 2", "line 1"),
        ("seed: 1\n  train: 2", "line 2, column 8"),
        ("seed: 1\n\ttrain: 2", "line 2, column 1"),
        ("seed: 'never closed", "line 1"),
        ("seed: 1\n---\nseed: 2", "line 2"),
        ("seed: @", "line 1, column 7"),
        ("{a: 1}}", "line 1, column 7"),
        ("? [a]\n: 1", "line 1, column 3"),
    ],
)
def test_malformed_yaml_names_line_and_column(refuse, text, position):
    message = refuse(text)
    assert "is not valid YAML at" in message
    assert position in message


@pytest.mark.parametrize(
    ("key", "text"),
    [("seed", "042"), ("seed", "0x10"), ("seed", "1_000"), ("epochs", "1:30"), ("epochs", "010"),
     ("learning_rate", "1:30.5"), ("learning_rate", "0_1.5")],
)  # fmt: skip
def test_numbers_that_dvc_reads_otherwise_are_refused(refuse, tree, key, text):
    changed = re.sub(rf"\b{key}: .*", f"{key}: {text}", yaml.safe_dump(tree))
    assert f"'{text}' is not a plain decimal number" in refuse(changed)


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\ufffe"], ids=repr)
def test_control_characters_are_refused(refuse, character):
    assert "is not valid YAML" in refuse(f"seed: {character}")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("seed: 3", "seed: 3\nseed: 3", "seed"),
        ("  pool: gap", "  pool: gap\n  pool: cls", "pool"),
        ("    shift: 0", "    shift: 0\n    'shift': 2", "shift"),
    ],
)
def test_duplicate_key_is_refused(refuse, tree, old, new, key):
    text = yaml.safe_dump(tree)
    assert text.count(old) == 1
    message = refuse(text.replace(old, new))
    assert f"key '{key}' stands twice" in message
    assert re.search(r"at line \d+, column \d+", message)


def test_merge_key_cannot_hide_a_second_value(refuse, tree):
    assert "a key must be a plain word" in refuse(yaml.safe_dump(tree) + "\n<<: {seed: 9}\n")


@pytest.mark.parametrize(
    "key", ["1", "yes", "~", "2024-01-01", "1.5", '""', '"a\\nb"', '"\\ud800"']
)
def test_key_that_is_not_text_is_refused(refuse, tree, key):
    assert "a key must be a plain word" in refuse(yaml.safe_dump(tree) + f"\n{key}: 1\n")


def test_aliases_are_refused(refuse):
    assert "aliases are not allowed" in refuse("seed: &a 1\nmodel: *a")


def test_file_over_the_limit_is_refused_before_it_is_parsed(refuse):
    message = refuse("#" * (MAX_BYTES + 1))
    assert f"more than {MAX_BYTES:,} bytes" in message


def test_file_at_the_limit_is_read(accept, tree):
    text = yaml.safe_dump(tree)
    padded = text + "#" * (MAX_BYTES - len(text.encode()))
    assert accept(padded).model_dump() == tree


@pytest.mark.parametrize(
    ("content", "byte"),
    [(b"seed: \xff", 6), ("seed: 1".encode("utf-16"), 0), (b"caf\xe9: 1", 3)],
)
def test_file_that_is_not_utf8_names_the_byte(refuse, content, byte):
    assert f"is not UTF-8 text: byte {byte} is invalid" in refuse(content)


def test_byte_order_mark_is_accepted(tmp_path, tree):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8-sig")
    assert load_config(path).model_dump() == tree


def test_missing_file_says_what_to_do(tmp_path, one_line):
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "params.yaml")
    message = one_line(caught.value)
    assert "params.yaml could not be read: No such file" in message
    assert "project's folder" in message


def test_folder_instead_of_the_file_is_refused(tmp_path, one_line):
    with pytest.raises(UserError) as caught:
        load_config(tmp_path)
    assert "could not be read: Is a directory" in one_line(caught.value)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", ".001", "+1e-3", "1e-03"])
def test_powers_of_ten_are_numbers(accept, tree, text):
    put(tree, "train.learning_rate", "PLACE")
    loaded = accept(yaml.safe_dump(tree).replace("PLACE", text))
    assert loaded.train.learning_rate == 0.001


@pytest.mark.parametrize("text", ["'1e-3'", '"1e-3"', "1e", "e-3", "1e-3x"])
def test_text_that_looks_like_a_number_is_refused(refuse, tree, text):
    put(tree, "train.learning_rate", "PLACE")
    message = refuse(yaml.safe_dump(tree).replace("PLACE", text))
    assert f"train.learning_rate is '{text.strip(chr(39) + chr(34))}'; allowed: " in message


def test_power_of_ten_is_no_whole_number(refuse, tree):
    put(tree, "train.epochs", "PLACE")
    message = refuse(yaml.safe_dump(tree).replace("PLACE", "1e2"))
    assert "train.epochs is 100.0; allowed: " in message


@pytest.mark.parametrize(
    "value",
    ["x" * 5000, list(range(5000)), {f"k{n}": n for n in range(2000)}, 10**3000],
    ids=["text", "list", "mapping", "number"],
)
def test_long_value_is_shortened(refuse, tree, value):
    put(tree, "data.name", value)
    message = refuse(tree)
    assert "data.name is " in message
    assert "..." in message
    assert len(message) < 200


def test_long_unknown_key_is_shortened(refuse, tree):
    put(tree, "model." + "x" * 3000, 1)
    message = refuse(tree)
    assert "model.xxx" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "value",
    ["0x" + "f" * 9000, "9" * 9000, "1:" + ":".join(["00"] * 9000), "1" + ":00" * 900 + ".5"],
    ids=["hexadecimal", "decimal", "sexagesimal", "sexagesimal with fraction"],
)
def test_number_that_python_cannot_write_out_is_refused(refuse, tree, value):
    put(tree, "seed", "PLACE")
    assert len(refuse(yaml.safe_dump(tree).replace("PLACE", value))) < 200
