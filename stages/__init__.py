"""The stages of the pipeline, one script each, and the files that they share."""

import os
import sys

# JAX reads this variable when it is imported, and ends in a traceback where it is no number. This
# package is imported first.
_devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
if not (_devices.isascii() and _devices.isdigit() and int(_devices) > 0):
    sys.exit(
        f"error: JAX_NUM_CPU_DEVICES is {_devices!r}; allowed: a whole number from 1 on; "
        "unset it, and each core is a device"
    )
