"""Run tests of the model on the GPU, and print the outcome as JSON.

The arguments are those of pytest. The products of float32 are exact, as the tests expect.
"""

import importlib.util
import json
import sys

import jax
import pytest

PROCESSES = 4  # where pytest-xdist is installed


class Outcomes:
    """A pytest plugin that notes what passed and what did not."""

    def __init__(self) -> None:
        """Start with no tests."""
        self.passed, self.left_out, self.failed = 0, 0, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test after its call; a failure may be that of a fixture."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.left_out += 1
        elif report.when == "call":
            self.passed += 1


def main() -> None:
    """Run the tests, without the settings for developers in pyproject.toml."""
    answers, sys.stdout = sys.stdout, sys.stderr
    outcomes = Outcomes()
    has_xdist = importlib.util.find_spec("xdist") is not None
    # The conftest.py of all tests needs packages for developers, that of the model's tests none.
    options = ["-q", "--override-ini=addopts=", "--confcutdir=tests/model", "-pno:cacheprovider"]
    options += [f"--numprocesses={PROCESSES}"] if has_xdist else []
    code = pytest.main([*options, *sys.argv[1:]], plugins=[outcomes])
    result = {
        "platform": jax.default_backend(),
        "passed": outcomes.passed,
        "left_out": outcomes.left_out,
        "failed": outcomes.failed,
        "exit_code": int(code),
    }
    print(json.dumps(result), file=answers)


if __name__ == "__main__":
    main()
