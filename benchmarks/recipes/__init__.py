"""Whole trainings on MNIST, for `make bench-99`. Each module has run(seed, limit) -> Finished."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finished:
    """How one training ended.

    Attributes:
      seconds: of the training with all that it compiles; the data lie in memory before.
      compile_seconds: the part of it that compiles; 0 where nothing is compiled.
      epochs: whole ones that were trained.
      parameters: how many numbers are learned.
      test_accuracy: of the final weights.
      ended: why: "recipe" (it was over), "target" (the target was passed) or "limit" (of time).
    """

    seconds: float
    compile_seconds: float
    epochs: int
    parameters: int
    test_accuracy: float
    ended: str
