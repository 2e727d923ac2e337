import numpy as np
import pytest

from vit_hk.explain.token_attention import token_attention

# Layers, images, heads and tokens are 2, 3, 4 and 5.
ATTENTION = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4, 5))


def test_row_of_the_query_token():
    row = token_attention(ATTENTION, layer=1, image=2, head=3, query=4)
    np.testing.assert_array_equal(row, ATTENTION[1, 2, 3, 4])
    assert row.sum() == pytest.approx(1)


@pytest.mark.parametrize(("name", "size"), [("layer", 2), ("image", 3), ("head", 4), ("query", 5)])
@pytest.mark.parametrize("too_large", [True, False])
def test_index_out_of_range_is_rejected_with_the_allowed_range(one_line, name, size, too_large):
    index = size if too_large else -1
    indices = {"layer": 0, "image": 0, "head": 0, "query": 0, name: index}
    with pytest.raises(IndexError) as caught:
        token_attention(ATTENTION, **indices)
    message = one_line(caught.value)
    assert message == (
        f"{name} is {index}, but this axis of the attention has size {size}; "
        f"allowed: 0 to {size - 1}"
    )
