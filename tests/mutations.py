"""Settings of Hypothesis for tests that read a file in each example."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings


def mutations(count: int) -> Callable:
    """Return a decorator that runs a test with `count` examples, without a deadline."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
