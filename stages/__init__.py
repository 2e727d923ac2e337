"""The stages of the pipeline, one script each, and the files that they share."""

import gc
import os
from collections.abc import Callable

from vit_hk.environment import begin_garbage_collection, check_environment, use_one_blas_thread
from vit_hk.errors import one_line_errors

# The process that started this one: DVC, unless it is killed before this line.
PARENT = os.getppid()

gc.disable()  # until a stage has imported JAX
with one_line_errors():  # this package is imported before JAX
    check_environment()
use_one_blas_thread()


def run_stage(main: Callable[[], None]) -> None:
    """Run the main function of a stage, after its imports, with errors of one line."""
    begin_garbage_collection()
    with one_line_errors():
        main()
