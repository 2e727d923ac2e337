"""JAX's coordination service as a process of its own, which outlives the training's process 0.

Inside of process 0, where JAX starts it, the service would die with that process, and all others
would be aborted with a trace of the stack. It is run as a script: coordinator.py ADDRESS PROCESSES.
"""

import sys
import time

from jaxlib import _jax

NEVER = 10**6  # seconds
# How long it goes on after process 0: the others have to leave too, or to find out that it is gone.
AFTER_LEAVING, AFTER_DEATH = 3.0, 25.0  # seconds


def main() -> None:
    """Serve until process 0 has closed this script's standard input, and a while longer."""
    address, count = sys.argv[1:]
    service = _jax.get_distributed_runtime_service(
        address, int(count), heartbeat_timeout=NEVER, recoverable=True
    )
    has_left = bool(sys.stdin.read())
    time.sleep(AFTER_LEAVING if has_left else AFTER_DEATH)
    service.shutdown()


if __name__ == "__main__":
    main()
