import numpy as np

from vit_hk.explain.relevance import gradient_rollout, gradient_weighted_attention, relevance

# Two layers of two heads over two tokens, for one image; attention is uniform.
ATTENTION = np.full((2, 1, 2, 2, 2), 0.5)
GRADIENT = np.array(
    [
        [[[2.0, -2.0], [0.0, 4.0]], [[-2.0, 2.0], [0.0, 0.0]]],
        [[[0.0, 2.0], [2.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]],
    ]
)[:, np.newaxis]


def test_negative_products_count_as_0_in_each_head_before_the_mean():
    # Head 1 of layer 1 gives [[1, 0], [0, 2]], head 2 [[0, 1], [0, 0]].
    weighted = gradient_weighted_attention(ATTENTION, GRADIENT)
    np.testing.assert_allclose(weighted[0, 0], [[0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(weighted[1, 0], [[0, 1], [1, 0]])


def test_relevance_of_two_known_layers():
    # R = I + [[.5, .5], [0, 1]] = [[1.5, .5], [0, 2]]; the second layer adds its rows swapped.
    (result,) = relevance(ATTENTION, GRADIENT)
    np.testing.assert_allclose(result, np.array([[1.5, 2.5], [1.5, 2.5]]) - np.eye(2))


def test_gradient_rollout_of_two_known_layers():
    # [[.5, .5], [.5, .5]] times [[.75, .25], [0, 1]]
    (result,) = gradient_rollout(ATTENTION, GRADIENT)
    np.testing.assert_allclose(result, [[0.375, 0.625], [0.375, 0.625]])


def test_relevance_is_the_product_of_layers_with_their_residuals():
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.ones(5), (3, 2, 4, 5))
    gradient = random.normal(size=attention.shape)
    for image, result in enumerate(relevance(attention, gradient)):
        layers = [
            np.eye(5) + np.maximum(0, attention[layer, image] * gradient[layer, image]).mean(axis=0)
            for layer in range(3)
        ]
        np.testing.assert_allclose(result + np.eye(5), np.linalg.multi_dot(layers[::-1]))


def test_a_class_with_negative_gradients_only_gets_no_relevance():
    gradient = -np.ones_like(ATTENTION)
    np.testing.assert_array_equal(relevance(ATTENTION, gradient), np.zeros((1, 2, 2)))
    np.testing.assert_array_equal(gradient_rollout(ATTENTION, gradient), [np.eye(2)])


def test_relevance_keeps_the_dtype():
    result = relevance(ATTENTION.astype(np.float32), GRADIENT.astype(np.float32))
    assert result.dtype == np.float32
