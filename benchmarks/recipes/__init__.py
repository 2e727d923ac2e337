"""Complete trainings on MNIST, for `make bench-99`: each module has run(seed, limit)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of one training.

    Attributes:
      seconds: duration of the training with all compilation; the data are in memory beforehand.
      compile_seconds: the part of it that is compilation; 0 where nothing is compiled.
      epochs: number of complete epochs.
      parameters: number of learned parameters.
      test_accuracy: accuracy of the final weights.
      ended: "recipe" (all epochs are trained), "target" (accuracy reached) or "limit" (of time).
    """

    seconds: float
    compile_seconds: float
    epochs: int
    parameters: int
    test_accuracy: float
    ended: str
