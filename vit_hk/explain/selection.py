"""Selection of the test images whose attention is computed and drawn."""

import numpy as np

from vit_hk.errors import UserError
from vit_hk.metrics import most_confident_mistakes
from vit_hk.params import AttentionSettings


def check_indices(indices: list[int], num_images: int) -> None:
    """Check that all chosen test images exist.

    Raises:
      UserError: an index is `num_images` or more.
    """
    for index in indices:
        if index >= num_images:
            raise UserError(
                f"params.yaml: attention.images holds {index}, the test set has {num_images:,} "
                f"images; allowed: 0 to {num_images - 1}"
            )


def evenly_spaced_indices(count: int, total: int) -> np.ndarray:
    """Return `count` evenly spaced indices below `total`, or all of them if there are fewer.

    They represent a set that is sorted by class, unlike its first `count` images.

    >>> evenly_spaced_indices(4, 10)
    array([0, 3, 6, 9])
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def choose_indices(
    settings: AttentionSettings, probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Choose images: mistakes first, then correct predictions of alternating classes.

    Args:
      settings: `num_images` is the total, `num_wrong` the number of mistakes among them, the most
        confident ones first. Where one kind has too few images, the other fills the rest.
      probabilities: [images, C].
      labels: int [images].

    Returns:
      Indices of images, int [at most num_images].
    """
    predicted = probabilities.argmax(axis=-1)
    wrong = most_confident_mistakes(predicted, probabilities.max(axis=-1), labels)
    right = _alternate_classes(np.flatnonzero(predicted == labels), labels)
    num_wrong = min(len(wrong), max(settings.num_wrong, settings.num_images - len(right)))
    return np.concatenate([wrong[:num_wrong], right[: settings.num_images - num_wrong]])


def most_confident_example_indices(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the index of each class's correctly predicted image with the highest probability.

    Args:
      probabilities: [images, C].
      labels: int [images].

    Returns:
      Indices of images, int [C]; -1 where no image of the class is predicted correctly.
    """
    right = probabilities.argmax(axis=-1) == labels
    # [C, images]:
    candidates = right & (labels == np.arange(probabilities.shape[-1])[:, np.newaxis])
    confidence = np.where(candidates, probabilities.max(axis=-1), 0)
    return np.where(candidates.any(axis=1), confidence.argmax(axis=1), -1)


def mistakes_between_examples(
    chosen: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, max_mistakes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each mistake between an example of its true class and one of its predicted class.

    Args:
      chosen: indices of the images among which mistakes are selected, int [chosen images].
      probabilities: [images, C], of all images.
      labels: int [images].
      max_mistakes: maximum number of mistakes; the first ones are kept.

    Returns:
      Indices of images, int [mistakes, 4]: example of the true class, the mistake twice, example of
      the predicted class; an example is -1 where no image of its class is predicted correctly. And
      the class whose logit is attributed to the patches of each image, int [mistakes, 4]: the true
      class twice, then the predicted class twice.
    """
    predictions = probabilities.argmax(axis=-1)
    wrong = chosen[predictions[chosen] != labels[chosen]][:max_mistakes]
    examples = most_confident_example_indices(probabilities, labels)
    true, predicted = labels[wrong], predictions[wrong]
    indices = np.stack([examples[true], wrong, wrong, examples[predicted]], axis=1)
    return indices, np.stack([true, true, predicted, predicted], axis=1)


def _alternate_classes(indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Order indices so that the classes alternate: the first of each class, then the second."""
    position = np.zeros(len(indices), dtype=int)  # of an image within its class
    for label in np.unique(labels):
        members = labels[indices] == label
        position[members] = np.arange(members.sum())
    return indices[np.lexsort((labels[indices], position))]
