"""The kernel that accumulates gradients adds each element to its sum, and only there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.kernels.accumulate import accumulate

pytestmark = pytest.mark.usefixtures("simd_target")

# A scalar, parts of SIMD vectors, whole ones and several; empty arrays have no elements to add.
SHAPES = [(), (3,), (4, 4), (0, 5), (17,), (2, 3, 37), (1,), (64,)]


def random_terms(seed):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in SHAPES]


def concatenate(terms):
    return np.concatenate([term.ravel() for term in terms])


def test_terms_are_added_in_order():
    first, second = random_terms(0), random_terms(1)
    actual = jax.jit(accumulate)(concatenate(first), second)
    np.testing.assert_array_equal(actual, concatenate(first) + concatenate(second))


def test_sums_that_are_read_afterwards_keep_their_values():
    sums, terms = concatenate(random_terms(0)), random_terms(1)

    @jax.jit
    def both(sums):
        doubled = 2 * sums
        return doubled, accumulate(doubled, terms), doubled + 1

    before, after, later = both(sums)
    np.testing.assert_array_equal(before, 2 * sums)
    np.testing.assert_array_equal(after, 2 * sums + concatenate(terms))
    np.testing.assert_array_equal(later, 2 * sums + 1)


def test_a_loop_adds_one_microbatch_after_the_other():
    microbatches = [random_terms(seed) for seed in range(5)]
    stacked = [jnp.stack(leaves) for leaves in zip(*microbatches, strict=True)]

    @jax.jit
    def total(stacked):
        zeros = jnp.zeros(concatenate(microbatches[0]).size)
        return jax.lax.scan(lambda sums, terms: (accumulate(sums, terms), None), zeros, stacked)[0]

    expected = sum(map(concatenate, microbatches), np.float32(0))
    np.testing.assert_array_equal(total(stacked), expected)
