"""How often hypothesis tries, where each try reads a file."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings


def mutations(count: int) -> Callable:
    """Try a test with `count` random changes, however long one takes."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
