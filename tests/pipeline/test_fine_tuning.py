"""A training that starts from weights, under `dvc repro` with a tiny model."""

import hashlib

import yaml


def locked_dependencies(clone, stage: str) -> dict[str, str]:
    """Return the MD5 of each dependency of a stage, as dvc.lock holds it."""
    lock = yaml.safe_load(clone.read("dvc.lock"))
    return {dep["path"]: dep["md5"] for dep in lock["stages"][stage]["deps"] if "md5" in dep}


def test_training_from_weights_depends_on_their_file(clone):
    assert "models/random" in locked_dependencies(clone, "train")

    digits = clone.folder / "models" / "digits.safetensors"
    digits.write_bytes(clone.read("models/vit.safetensors"))
    clone.set(train__init_from="models/digits.safetensors", train__freeze=["patches", "head"])
    assert clone.repro("train") == ["check", "train"]
    assert clone.changed_stages("train") == set()
    md5 = hashlib.md5(digits.read_bytes(), usedforsecurity=False).hexdigest()
    for stage in ("check", "train"):
        assert locked_dependencies(clone, stage)["models/digits.safetensors"] == md5

    # Another file under the same name is another start.
    digits.write_bytes(clone.read("models/vit.safetensors"))
    assert clone.changed_stages("train") == {"check", "train"}

    # A mistake is found before DVC removes the weights.
    trained = clone.read("models/vit.safetensors")
    digits.write_bytes(b"no weights")
    message = "models/digits.safetensors is not a weights file of this project"
    assert message in clone.run("dvc", "repro", expect=255)
    assert clone.read("models/vit.safetensors") == trained
