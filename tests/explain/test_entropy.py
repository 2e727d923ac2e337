import math

import numpy as np
import pytest
import torch

from vit_hk.explain.entropy import attention_entropy


def test_attention_to_a_single_key_token_has_entropy_0():
    entropy = attention_entropy(np.eye(4)[np.newaxis, np.newaxis, np.newaxis])
    assert entropy.shape == (1, 1, 1)
    assert entropy.item() == 0


def test_uniform_attention_has_the_logarithm_of_the_token_count():
    assert attention_entropy(np.full((1, 1, 1, 5, 5), 0.2)).item() == pytest.approx(math.log(5))


def test_mean_over_the_query_tokens():
    rows = np.array([[1.0, 0.0], [0.5, 0.5]])[np.newaxis, np.newaxis, np.newaxis]
    assert attention_entropy(rows).item() == pytest.approx(math.log(2) / 2)


def test_equals_torch_for_each_layer_image_and_head():
    attention = np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 4, 6))
    expected = torch.distributions.Categorical(torch.tensor(attention)).entropy().mean(-1)
    np.testing.assert_allclose(attention_entropy(attention), expected)


def test_entropy_is_finite_where_weights_round_to_0():
    attention = np.zeros((1, 1, 1, 2, 2), np.float32)
    attention[..., 0], attention[..., 1] = 1, np.finfo(np.float32).smallest_subnormal
    assert attention_entropy(attention).item() == pytest.approx(0, abs=1e-30)
