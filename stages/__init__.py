"""The stages of the pipeline, one script each, and the files that they share."""

from vit_hk.environment import check_environment
from vit_hk.errors import one_line_errors

with one_line_errors():  # this package is imported before JAX
    check_environment()
