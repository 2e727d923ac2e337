"""Errors for settings that a format has no place for, which name formats that have one."""

from vit_hk.errors import UserError

# Of each setting of the model that some format lacks.
HOLDERS = {
    "stem": "onnx",
    "pool": "timm or onnx",
    "registers": "timm or onnx",
    "qk_norm": "timm or onnx",
    "gelu": "timm or onnx",
    "norm_eps": "transformers or onnx",
    "mlp_dim": "transformers or onnx",
}


def unsupported_setting(key: str, value: object, reason: str) -> UserError:
    """Return the error for a setting of the model that a format cannot hold.

    Args:
      key: its name below `model` in params.yaml.
      value: its value.
      reason: the end of "model.KEY is VALUE, …".
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return UserError(f"model.{key} is {text}, {reason}; export to {HOLDERS[key]} instead")
