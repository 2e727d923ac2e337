"""A model card: README.md in the hub's format, with YAML front matter."""

from typing import Any

import yaml

from vit_hk.model.size import count_parameters
from vit_hk.weights_metadata import WeightsInfo

CARD = "README.md"
LIBRARIES = {"timm": "timm", "transformers": "transformers", "google": "jax", "onnx": "onnx"}
USAGE = {
    "timm": """```python
import timm
model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # this folder
```""",
    "transformers": """```python
from transformers import ViTForImageClassification, ViTImageProcessor
model = ViTForImageClassification.from_pretrained("FOLDER")  # this folder
processor = ViTImageProcessor.from_pretrained("FOLDER")
```""",
    "google": """`model.npz` has the array names of `github.com/google-research/vision_transformer`.
It expects pixels from -1 to 1; the normalization of the training images is part of its patch
embedding.""",
    "onnx": """```python
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
logits, features, attention = session.run(None, {"images": images})
```""",
}


def model_card(
    library: str,
    info: WeightsInfo,
    metrics: dict[str, Any] | None,
    temperature: float | None = None,
    uint8: bool = False,
) -> str:
    """Return a model card.

    Args:
      library: "timm", "transformers", "google" or "onnx".
      info: the model and its data.
      metrics: metrics.json of these weights; None leaves figures out.
      temperature: by which logits are divided for calibrated probabilities; None if unknown.
      uint8: whether the normalization is part of an ONNX graph.
    """
    front: dict[str, Any] = {
        "library_name": LIBRARIES[library],
        # Of weights from elsewhere it is not known; others have that of the project's code.
        "license": "unknown" if info.is_imported else "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "vision-transformer"],
    }
    if info.data is not None:
        front["datasets"] = [info.data]
    yaml_text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{yaml_text}---",
        "# Vision Transformer",
        _model(info),
        "## Use",
        USAGE[library],
        _images(library, info, uint8),
        *([_probabilities(temperature)] if temperature else []),
        "## Data",
        _data(info),
        "## Results",
        _results(metrics),
        "## Limits",
        _limits(info),
        "## Licence",
        _licence(info),
    ]
    return "\n\n".join(sections) + "\n"


def _model(info: WeightsInfo) -> str:
    s = info.model
    count = count_parameters(s, info.image_shape, len(info.class_names))
    settings = ", ".join(f"`{key}: {_as_yaml(value)}`" for key, value in s.model_dump().items())
    return (
        "A Vision Transformer (arXiv 2010.11929) for image classification, exported from vit-hk, "
        f"with {count:,} parameters and {len(info.class_names):,} classes. Settings: {settings}."
    )


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _images(library: str, info: WeightsInfo, uint8: bool) -> str:
    height, width, channels = info.image_shape
    what = {1: "grey images", 3: "RGB images"}.get(channels, f"images of {channels} channels")
    scale = (
        "They enter as bytes from 0 to 255; the graph normalizes them."
        if uint8
        else "Pixels are scaled from 0 … 255 to -1 … 1; the weights do the rest."
        if library == "google"
        else f"Pixels are scaled to 0 … 1, then (x - mean) / std with mean {info.mean} and std "
        f"{info.std}."
    )
    return f"It sees {what} of {height} x {width} pixels. {_resizing(library, info)}{scale}"


def _resizing(library: str, info: WeightsInfo) -> str:
    """Say how images of another shape come to this one, if that is known."""
    if info.preparation is None or info.is_imported:
        return ""
    how = {
        "crop": "resized until they cover that one, and cropped at the centre",
        "pad": f"resized until they fit, and padded with grey level {info.preparation.background}",
        "stretch": "stretched",
    }[info.preparation.resize]
    other = {
        ("transformers", "crop"): " ViTImageProcessor stretches them instead.",
        ("transformers", "pad"): " ViTImageProcessor stretches them instead.",
        ("timm", "pad"): " timm's transform pads with the mean colour instead.",
    }.get((library, info.preparation.resize), "")
    return f"Images of another shape are {how}.{other} "


def _probabilities(temperature: float) -> str:
    return (
        f"For calibrated probabilities, divide the logits by {temperature:.4g} before the softmax "
        "(temperature scaling, arXiv 1706.04599)."
    )


def _data(info: WeightsInfo) -> str:
    if info.is_imported:
        return f"The weights were {info.source}; on which data they were trained is not known."
    return (
        f"Trained on `{info.data}` ({info.source}). A share of {info.validation_fraction} of its "
        "training images was held out for validation."
    )


def _results(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "No figures are known of these weights."
    rows = [
        f"| {split} | {name} | {value} |"
        for split in ("test", "validation")
        for name, value in metrics.get(split, {}).items()
    ]
    head = ["| images | metric | value |", "| --- | --- | ---: |"]
    return "\n".join([*head, *rows])


def _limits(info: WeightsInfo) -> str:
    return (
        f"The model gives one of its {len(info.class_names):,} classes to any image, also to one "
        "that shows none of them. It knows images like those it was trained on: other cameras, "
        "backgrounds or scales may lower its accuracy unnoticed. Attention shows where information "
        "is taken from, not why a class was chosen. It has not been tested for fairness or safety; "
        "do not let it decide about people."
    )


def _licence(info: WeightsInfo) -> str:
    if info.is_imported:
        return "That of the weights' origin, which is not known here."
    return (
        "Apache-2.0, as the code that trained it. Check that the terms of the training images "
        "allow what you do with it."
    )
