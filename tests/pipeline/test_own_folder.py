"""A folder of images of one's own: it is a dependency, so a changed image runs the stages again."""

import numpy as np
from image_files import write_folder
from PIL import Image
from project_clone import copy_project

from vit_hk.data.dataset import load_dataset
from vit_hk.weights import read_weights

DATA = {"data__name": "folder", "data__image_size": [28, 28], "data__channels": 1}
MODEL = {
    "model__patch_size": 14, "model__hidden_size": 8, "model__num_layers": 1,
    "model__num_heads": 2, "model__mlp_dim": 8,
    "train__epochs": 1, "train__warmup_epochs": 0.0, "train__batch_size": 10,
}  # fmt: skip
CLASSES = {"$x, <b>y": 30, "class 10": 12, "猫": 12}


def test_folder_of_images_is_watched(tmp_path):
    clone = copy_project(tmp_path / "project")
    folder = tmp_path / "my photos"
    write_folder(folder, CLASSES, size=(20, 30))
    clone.set(
        platform="cpu", evaluate__batch_size=10, **DATA, data__root=str(folder), **MODEL,
        train__class_weights="balanced",
    )  # fmt: skip
    assert clone.repro("train") == ["download", "check", "train"]
    dataset = load_dataset(clone.folder / "data/dataset.npz")
    assert (dataset.name, dataset.source) == ("my photos", "folder of images: my photos")
    assert len(dataset.x_test) == 6 + 2 + 2
    assert dataset.class_names == tuple(CLASSES)
    # `predict` prepares other images in the same way, from the weights file alone.
    trained = read_weights(clone.folder / "models/vit.safetensors")
    assert dataset.preparation is not None
    assert trained.info.preparation == dataset.preparation
    assert clone.changed_stages("train") == set()

    # The same pixels in other bytes: the data set stays the same, and nothing depends on more.
    path = folder / "猫" / "3.png"
    image = Image.open(path)
    image.load()
    image.save(path, compress_level=1)
    assert clone.repro("train") == ["download"]  # not even check runs again
    Image.fromarray(255 - np.asarray(image)).save(path)
    assert clone.repro("check") == ["download", "check"]

    path.write_text("no image")
    weights = clone.read("models/vit.safetensors")
    printed = clone.run("dvc", "repro", expect=255)
    assert "'猫/3.png': no image, damaged at its start" in printed
    assert clone.read("models/vit.safetensors") == weights
