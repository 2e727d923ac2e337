"""What a program does before it imports JAX, and right after."""

import gc
import os

from vit_hk.errors import UserError

MAX_DEVICES = 4096  # more than any machine has cores


def check_environment() -> None:
    """Refuse a number of devices that JAX would refuse with a traceback.

    Raises:
      UserError: JAX_NUM_CPU_DEVICES is set, and no whole number from 1 to MAX_DEVICES.
    """
    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
    is_number = devices.isascii() and devices.isdigit() and len(devices) < 10
    if not (is_number and 0 < int(devices) <= MAX_DEVICES):
        raise UserError(
            f"JAX_NUM_CPU_DEVICES is {devices!r}; allowed: a whole number from 1 to "
            f"{MAX_DEVICES:,}; unset it, and each core is a device"
        )


def use_one_blas_thread() -> None:
    """Give NumPy's OpenBLAS one thread; call this before NumPy is imported.

    With more threads it sums in another order from matrices of about 200 rows on, and the results
    of a stage must not depend on how many cores its process may use.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def begin_garbage_collection() -> None:
    """Exclude all modules that are imported from garbage collection, and turn it on.

    A program turns it off before it imports JAX, since it takes a fifth of the time of the imports
    and finds nothing. Later it would visit all modules again and again, because tracing creates
    many objects: half a second of a stage. Where it is on, as in a test, nothing changes.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
