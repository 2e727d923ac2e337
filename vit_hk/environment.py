"""Variables of the environment that JAX reads when it is imported."""

import os

from vit_hk.errors import UserError


def check_environment() -> None:
    """Refuse a number of devices that JAX would refuse with a traceback when it is imported.

    Raises:
      UserError: JAX_NUM_CPU_DEVICES is set, and no whole number from 1 on.
    """
    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
    if not (devices.isascii() and devices.isdigit() and int(devices) > 0):
        raise UserError(
            f"JAX_NUM_CPU_DEVICES is {devices!r}; allowed: a whole number from 1 on; unset it, and "
            "each core is a device"
        )
