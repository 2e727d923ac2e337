"""Errors for settings that a format cannot hold name formats that can."""

import re

import pytest
from format_cases import draw_params, make_info

from vit_hk.errors import UserError
from vit_hk.formats.google import export_google
from vit_hk.formats.onnx import export_onnx
from vit_hk.formats.timm import export_timm
from vit_hk.formats.transformers import export_transformers

EXPORTS = {
    "timm": export_timm,
    "transformers": export_transformers,
    "google": export_google,
    "onnx": lambda params, info: export_onnx(params, info, uint8=False),
}


REFUSED = {
    "timm": [{"stem": "conv"}, {"norm_eps": 1e-5}],
    "transformers": [{"stem": "cct"}, {"pool": "gap"}, {"registers": 2}, {"qk_norm": True}],
    "google": [
        {"stem": "conv"}, {"gelu": "erf"}, {"registers": 2}, {"qk_norm": True}, {"norm_eps": 1e-5}
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"), [(name, changes) for name in REFUSED for changes in REFUSED[name]], ids=str
)
@pytest.mark.parametrize("other", [{}, {"pool": "gap"}, {"norm_eps": 1e-5}], ids=str)
def test_formats_that_an_error_names_hold_the_model(name, changes, other, one_line):
    info = make_info(num_layers=1, **{"gelu": "tanh"} | other | changes)
    params = draw_params(info)
    with pytest.raises(UserError, match="export to") as error:
        EXPORTS[name](params, info)
    named = re.split(", | or ", re.search("export to (.*) instead", one_line(error.value))[1])
    for other in named:
        assert EXPORTS[other](params, info)
