import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from vit_hk.division import Division
from vit_hk.params import AugmentSettings
from vit_hk.training.pieces import Split, prepare_pieces

ONE, BOTH = (Mesh(np.array(jax.devices()[:count]), ("batch",)) for count in (1, 2))
DIVISIONS = pytest.mark.parametrize(
    "division", [Division(ONE, 1, 6), Division(ONE, 3, 2), Division(BOTH, 3, 1)], ids=str
)
# All pixels of image n are 10 n, and its label is n.
SPLIT = Split(
    jnp.broadcast_to(jnp.arange(0, 100, 10, dtype=jnp.uint8).reshape(-1, 1, 1, 1), (10, 4, 4, 1)),
    jnp.arange(10),
)
CHOSEN = np.array([3, 8, 1, 9, 0, 4], np.int32)


def prepare(division, **augment):
    """The pieces of both devices, one after the other; a pixel reaches the model as n / 25.5."""
    settings = AugmentSettings(**dict.fromkeys(AugmentSettings.model_fields, 0) | augment)

    def run(key):
        return prepare_pieces(key, SPLIT, CHOSEN, settings, [0.0], [1.0], division)

    spread = jax.shard_map(
        run, mesh=division.mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec("batch"),
        check_vma=False,
    )  # fmt: skip
    return jax.jit(spread)(jax.random.key(0))


@DIVISIONS
def test_each_image_of_the_batch_is_in_one_piece_with_its_label(division):
    prepared = prepare(division)
    np.testing.assert_array_equal(np.ravel(prepared.labels), CHOSEN)
    pixels = np.asarray(prepared.images).reshape(6, -1)
    np.testing.assert_allclose(pixels, np.repeat(CHOSEN[:, None] / 25.5, 16, axis=1), rtol=1e-6)
    assert prepared.mixture is None


@DIVISIONS
def test_an_image_is_mixed_with_the_one_before_it_in_the_batch(division):
    prepared = prepare(division, mixup=1.0)
    before = [4, 3, 8, 1, 9, 0]
    np.testing.assert_array_equal(np.ravel(prepared.mixture.labels), before)
    (share,) = set(np.asarray(prepared.mixture.share).tolist())  # one for the batch
    assert 0.01 < share < 0.99
    mixed = np.asarray(prepared.images)[..., 0, 0, 0].ravel()
    expected = (share * CHOSEN + (1 - share) * np.array(before)) / 25.5
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)
