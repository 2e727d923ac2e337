import numpy as np
import pytest

from vit_hk.errors import UserError
from vit_hk.explain.patch_attention import token_attention

# Layers, images, heads and tokens are 2, 3, 4 and 5.
ATTENTION = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4, 5))


def test_any_token_to_every_token():
    row = token_attention(ATTENTION, layer=1, image=2, head=3, query=4)
    np.testing.assert_array_equal(row, ATTENTION[1, 2, 3, 4])
    assert row.sum() == pytest.approx(1)


@pytest.mark.parametrize(("name", "count"), [("layer", 2), ("image", 3), ("head", 4), ("query", 5)])
@pytest.mark.parametrize("too_much", [True, False])
def test_what_is_not_there_is_named(one_line, name, count, too_much):
    index = count if too_much else -1
    asked = {"layer": 0, "image": 0, "head": 0, "query": 0, name: index}
    with pytest.raises(UserError) as caught:
        token_attention(ATTENTION, **asked)
    message = one_line(caught.value)
    assert message == (
        f"{name} is {index}, the attention has {count} of them; allowed: 0 to {count - 1}"
    )
