"""Draw where the model looks on a few test images and keep the raw attention."""

from pathlib import Path

import numpy as np

from vit_hk.atomic import replacing
from vit_hk.dataset import Dataset, load_dataset
from vit_hk.device import select_device
from vit_hk.errors import one_line_errors
from vit_hk.evaluation import softmax
from vit_hk.explain.patch_attention import patch_attention
from vit_hk.explain.selection import check_indices, choose_images
from vit_hk.figures.attention import draw_overview, draw_sheet
from vit_hk.figures.saving import save_figure
from vit_hk.inference import make_predictor, run_model
from vit_hk.model.vit import make_model
from vit_hk.params import load_params
from vit_hk.weights import load_weights

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
FOLDER = Path("results/attention")


def main() -> None:
    """params.yaml: attention; data/dataset.npz, models/vit.safetensors -> results/attention/."""
    params = load_params()
    dataset = load_dataset(DATASET)
    check_indices(params.attention.images, len(dataset.x_test))
    select_device(params.train.platform)
    weights, info = load_weights(WEIGHTS, params.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    if params.attention.images:
        chosen = np.array(params.attention.images)
    else:
        predict = make_predictor(model, info.mean, info.std, params.evaluate.batch_size)
        probabilities = softmax(np.asarray(predict(weights, dataset.x_test)))
        chosen = choose_images(params.attention, probabilities, dataset.y_test)
    images = dataset.x_test[chosen]
    output = run_model(model, weights, images, info.mean, info.std)
    attention = np.asarray(output.attention)
    probabilities = softmax(np.asarray(output.logits))
    with replacing(FOLDER / "attention.npz") as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            attention=attention,
            indices=chosen,
            images=images,
            labels=dataset.y_test[chosen],
            probabilities=probabilities.astype(np.float32),
        )
    height, width, _ = dataset.image_shape
    grid = (height // info.model.patch_size, width // info.model.patch_size)
    maps = patch_attention(attention, grid[0] * grid[1], info.model.pool)
    maps = maps.reshape(*maps.shape[:-1], *grid)  # [L, B, H, rows, columns]
    draw(dataset, chosen, maps, probabilities, info.model.pool)


def draw(
    dataset: Dataset, chosen: np.ndarray, maps: np.ndarray, probabilities: np.ndarray, pool: str
) -> None:
    """Write a sheet for each image and the overview.

    Args:
      dataset: holds images, labels and names.
      chosen: int [B], test images.
      maps: [L, B, H, rows, columns].
      probabilities: [B, C].
      pool: "cls" or "gap".
    """
    reader = "the class token" if pool == "cls" else "the mean patch"
    titles = []
    for number, index in enumerate(chosen):
        guess = int(probabilities[number].argmax())
        label, predicted = dataset.class_names[dataset.y_test[index]], dataset.class_names[guess]
        verdict = "right" if guess == dataset.y_test[index] else "WRONG"
        sure = 100 * probabilities[number, guess]
        titles.append(f"predicted {predicted}, is {label}")
        title = (
            f"Test image {index}: predicted {predicted} ({sure:.0f} % sure), is {label}: {verdict}"
        )
        sheet = draw_sheet(dataset.x_test[index], maps[:, number], title, reader)
        save_figure(sheet, FOLDER / f"image_{number + 1:02d}.png")
    overview = draw_overview(dataset.x_test[chosen], maps[-1].mean(axis=1), titles, reader)
    save_figure(overview, FOLDER / "overview.png")
    print(f"{FOLDER}: attention of {len(chosen)} test images")


if __name__ == "__main__":
    with one_line_errors():
        main()
