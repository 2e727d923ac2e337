"""The stages of the pipeline, one script each, and the files that they share."""

import os

from vit_hk.environment import check_environment
from vit_hk.errors import one_line_errors

# The process that started this one: DVC, unless it is killed before this line.
PARENT = os.getppid()

with one_line_errors():  # this package is imported before JAX
    check_environment()
