import jax
import numpy as np
import pytest
from scipy.stats import beta, kstest
from settings_file import AUGMENTATION_OFF

from vit_hk.params import AugmentSettings
from vit_hk.training.mixing import mix_images, mix_targets

COUNT, HEIGHT, WIDTH, CHANNELS = 5, 12, 20, 2
# All pixels of image n are n + 1, so that a mixture shows the share of each image.
IMAGES = np.broadcast_to(
    np.arange(1, COUNT + 1, dtype=np.uint8).reshape(-1, 1, 1, 1), (COUNT, HEIGHT, WIDTH, CHANNELS)
)
PARTNERS = np.roll(IMAGES, 1, axis=0)


def draw(draws, **changes):
    """Return the images [draws, B, height, width, channels] and the λ [draws] of many batches."""
    settings = AugmentSettings(**AUGMENTATION_OFF | changes)
    mix = jax.jit(jax.vmap(lambda key: mix_images(key, IMAGES, PARTNERS, settings)))
    return [np.asarray(x) for x in mix(jax.random.split(jax.random.key(0), draws))]


def test_mixup_blends_each_image_with_its_partner_by_the_returned_lambda():
    mixed, lambdas = draw(30, mixup=1.0)
    lam = lambdas.reshape(-1, 1, 1, 1, 1)
    np.testing.assert_allclose(mixed, lam * IMAGES + (1 - lam) * PARTNERS, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 3.0])
def test_lambda_of_mixup_follows_the_beta_distribution(alpha):
    _, lambdas = draw(1000, mixup=alpha)
    assert kstest(lambdas, beta(alpha, alpha).cdf).pvalue > 0.001


def test_cutmix_replaces_one_rectangle_of_each_image_by_that_of_its_partner():
    mixed, lambdas = draw(200, cutmix=1.0)
    assert mixed.dtype == np.uint8
    foreign = mixed == PARTNERS
    np.testing.assert_array_equal(mixed, np.where(foreign, PARTNERS, IMAGES))
    assert (foreign == foreign[:, :1, :, :, :1]).all()  # the same for all images and channels
    foreign = foreign[:, 0, :, :, 0]
    rows, columns = foreign.any(axis=2), foreign.any(axis=1)
    np.testing.assert_array_equal(foreign, rows[:, :, None] & columns[:, None])
    for lines in (rows, columns):  # each is contiguous
        assert (np.abs(np.diff(lines, axis=1, prepend=0, append=0)).sum(axis=1) <= 2).all()
    # λ is the share of pixels that are not replaced, also where the rectangle is clipped.
    np.testing.assert_allclose(1 - lambdas, foreign.mean(axis=(1, 2)), atol=1e-6)
    # Each pixel is replaced in some batches, and not in others.
    assert foreign.any(axis=0).all()
    assert not foreign.all(axis=0).any()


def test_cutmix_rectangle_inside_the_image_has_the_drawn_area():
    # The sides of the rectangle are sqrt(1 - λ) of the image's; Beta(1000, 1000) draws 1/2.
    mixed, _ = draw(300, cutmix=1000.0)
    foreign = (mixed == PARTNERS)[:, 0, :, :, 0]
    heights, widths = foreign.any(axis=2).sum(axis=1), foreign.any(axis=1).sum(axis=1)
    assert heights.max() == pytest.approx(0.5**0.5 * HEIGHT, abs=1.01)
    assert widths.max() == pytest.approx(0.5**0.5 * WIDTH, abs=1.01)


def test_mixup_and_cutmix_are_each_chosen_for_half_of_the_batches():
    mixed, _ = draw(400, mixup=1.0, cutmix=1.0)
    blended = (mixed != np.round(mixed)).any(axis=(1, 2, 3, 4))
    assert 150 < blended.sum() < 250  # five standard deviations


def test_mixed_targets_equal_literal_values():
    targets, partners = np.eye(3, dtype=np.float32)[[[0, 2, 2, 1], [1, 0, 2, 2]]]
    expected = [[0.75, 0.25, 0], [0.25, 0, 0.75], [0, 0, 1], [0, 0.75, 0.25]]
    np.testing.assert_allclose(mix_targets(targets, partners, np.float32(0.75)), expected)


def test_tiny_alpha_draws_a_lambda_of_0_or_1():
    # jax.random.beta gives NaN for such an alpha.
    _, lambdas = draw(20, mixup=1e-40)
    assert set(lambdas) == {0.0, 1.0}
