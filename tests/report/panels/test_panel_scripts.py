"""The calculations of the panels in JavaScript, against scikit-learn and NumPy."""

import itertools

import numpy as np
import pytest
from sklearn.decomposition import PCA

from vit_hk.explain.rollout import attention_rollout


@pytest.fixture(scope="module")
def script_page(chromium, project):
    page = chromium.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    for name in ("explain.js", "panels/pca.js", "panels/flow_edges.js"):
        page.add_script_tag(path=project / "vit_hk" / "report" / name)
    yield page
    assert problems == []
    page.close()


def principal_components(page, points: np.ndarray) -> tuple[np.ndarray, list[float]]:
    coordinates, shares = page.evaluate(
        """([points, width]) => {
          const { coordinates, shares } = principalComponents(Float32Array.from(points), width, 2);
          return [[...coordinates], shares];
        }""",
        [points.ravel().tolist(), points.shape[1]],
    )
    return np.array(coordinates).reshape(-1, 2), shares


@pytest.mark.parametrize(("count", "width"), [(40, 5), (30, 64), (3, 8)])
def test_principal_components_are_those_of_scikit_learn_with_its_signs(script_page, count, width):
    random = np.random.default_rng(width)
    points = random.normal(size=(count, width)) @ random.normal(size=(width, width)) + 7
    points = points.astype(np.float32).astype(np.float64)
    expected = PCA(2, svd_solver="full")
    coordinates = expected.fit_transform(points)
    # The largest coefficient of a direction is positive; scikit-learn has had other rules.
    largest = np.abs(expected.components_).argmax(axis=1)
    signs = np.sign(expected.components_[[0, 1], largest])
    found, shares = principal_components(script_page, points)
    np.testing.assert_allclose(found, coordinates * signs, atol=1e-6 * np.abs(coordinates).max())
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_, rtol=1e-6)


def test_equal_points_lie_in_one_place(script_page):
    coordinates, shares = principal_components(script_page, np.ones((5, 4)))
    assert not coordinates.any()
    assert shares == [0, 0]


FLOW = """([model, attention, settings, count]) => {
  const off = { heads: new Set(), layers: new Set(), patches: new Set() };
  const matrices = explain.layerMatrices(model, Float32Array.from(attention), settings, off);
  const { reach, kept, strongest } = findFlow(model, matrices, count);
  return [reach.map((row) => [...row]), kept, strongest];
}"""


@pytest.mark.parametrize("pool", ["cls", "gap"])
@pytest.mark.parametrize(("fusion", "ratio"), [("mean", 0.0), ("max", 0.3)])
def test_flow_is_the_rollout_split_into_edges(script_page, pool, fusion, ratio):
    layers, heads, patches, registers = 3, 2, 4, 1
    first = registers + (pool == "cls")
    tokens = first + patches
    attention = np.random.default_rng(0).dirichlet(np.ones(tokens) / 2, (layers, 1, heads, tokens))
    attention = attention.astype(np.float32)
    model = {
        "layers": layers, "heads": heads, "tokenCount": tokens, "patchCount": patches,
        "firstPatch": first, "isClassToken": pool == "cls",
    }  # fmt: skip
    settings = {"head_fusion": fusion, "discard_ratio": ratio}
    arguments = [model, attention.ravel().tolist(), settings]
    reach, kept, strongest = script_page.evaluate(FLOW, [*arguments, tokens**2])
    assert all(edge["from"] == edge["to"] for edge in kept)
    rollout = attention_rollout(attention, pool, fusion, ratio)[0]  # [query T, key T]
    expected = rollout[0] if pool == "cls" else rollout[first:].mean(axis=0)
    np.testing.assert_allclose(reach[0], expected, atol=1e-6)
    shares = np.zeros((layers, tokens, tokens))
    for edge in itertools.chain(kept, *strongest):
        shares[edge["layer"], edge["to"], edge["from"]] = edge["share"]
    # What reaches a token leaves it, and nothing is lost between layers.
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, atol=1e-6)
    for layer in range(layers):
        np.testing.assert_allclose(shares[layer].sum(axis=1), reach[layer + 1], atol=1e-6)
        np.testing.assert_allclose(shares[layer].sum(axis=0), reach[layer], atol=1e-6)
    if pool == "cls":  # of the last layer, only the class token's row is read
        assert not shares[-1, 1:].any()
    if ratio == 0:
        own = 0.5 * attention[0, 0].mean(axis=0) + 0.5 * np.eye(tokens)
        ratios = shares[0] / np.array(reach[1])[:, np.newaxis].clip(1e-12)
        np.testing.assert_allclose(ratios[first], own[first], atol=1e-5)
    # The strongest lines alone, and of equal ones those that come first in the matrix.
    _, kept_again, few = script_page.evaluate(FLOW, [*arguments, 3])
    assert kept_again == kept
    for layer in range(layers):
        others = np.where(np.eye(tokens, dtype=bool), 0, shares[layer]).ravel()
        cells = [edge["to"] * tokens + edge["from"] for edge in few[layer]]
        order = np.argsort(-others, kind="stable")[:3]
        assert cells == [cell for cell in order.tolist() if others[cell] > 0]
