"""Which test images to explain."""

import numpy as np

from vit_hk.errors import UserError
from vit_hk.evaluation import most_confident_mistakes
from vit_hk.params import AttentionSettings


def check_indices(indices: list[int], count: int) -> None:
    """Make sure that all chosen test images exist.

    Raises:
      UserError: an index is `count` or more.
    """
    for index in indices:
        if index >= count:
            raise UserError(
                f"params.yaml: attention.images holds {index}, the test set has {count:,} images; "
                f"allowed: 0 to {count - 1}"
            )


def spread(count: int, total: int) -> np.ndarray:
    """Indices of `count` images at even steps through all `total`; of all, if there are fewer.

    Not the first ones: where a set is sorted by class, they would be of one class.
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def choose_images(
    settings: AttentionSettings, probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Mistakes first, then right predictions, one class after the other.

    Args:
      settings: num_images in all, num_wrong of them mistakes, the most confident ones. Where
        there are too few of one kind, more of the other fill up.
      probabilities: [N, C].
      labels: int [N].

    Returns:
      Indices, int [at most num_images].
    """
    wrong = most_confident_mistakes(probabilities, labels, len(labels))
    right = _in_turn(np.flatnonzero(probabilities.argmax(axis=-1) == labels), labels)
    num_wrong = min(len(wrong), max(settings.num_wrong, settings.num_images - len(right)))
    return np.concatenate([wrong[:num_wrong], right[: settings.num_images - num_wrong]])


def clearest_examples(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each class the image that is recognized with the highest probability.

    Args:
      probabilities: [N, C].
      labels: int [N].

    Returns:
      Indices, int [C]; -1 where no image of a class is recognized.
    """
    right = probabilities.argmax(axis=-1) == labels
    own = right & (labels == np.arange(probabilities.shape[-1])[:, np.newaxis])  # [C, N]
    confidence = np.where(own, probabilities.max(axis=-1), 0)
    return np.where(own.any(axis=1), confidence.argmax(axis=1), -1)


def mistakes_between_examples(
    chosen: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each mistake between the clearest images of its true class and of the one it is taken for.

    Args:
      chosen: int, images to look for mistakes among.
      probabilities: [N, C], of all images.
      labels: int [N].
      most: mistakes, the first ones.

    Returns:
      Images int [K, 4], of which the two in the middle are the mistake twice, and the classes
      int [K, 4] to explain them for: the true one twice, then the predicted one twice. An
      image is -1 where none of its class is recognized.
    """
    guesses = probabilities.argmax(axis=-1)
    wrong = chosen[guesses[chosen] != labels[chosen]][:most]
    clearest = clearest_examples(probabilities, labels)
    right, taken = labels[wrong], guesses[wrong]
    images = np.stack([clearest[right], wrong, wrong, clearest[taken]], axis=1)
    return images, np.stack([right, right, taken, taken], axis=1)


def _in_turn(indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Order indices so that the classes take turns: first of each class, and so on."""
    turn = np.zeros(len(indices), dtype=int)
    for label in np.unique(labels):
        members = labels[indices] == label
        turn[members] = np.arange(members.sum())
    return indices[np.lexsort((labels[indices], turn))]
