"""Run tests of the model on the GPU, and print the outcome as JSON.

The arguments are the seconds after which no further test starts, and files of tests.
"""

import importlib.util
import json
import sys
import time

import jax
import pytest

# Kernels are a CPU's. Two other tests are of XLA's CPU backend: of bits, and of its memory.
SELECTED = "(without or not kernels) and not changes_no_bit and not less_memory"
# The conftest.py of all tests needs packages for developers, that of the model's tests none.
OPTIONS = (
    "-q", "--override-ini=addopts=", "--confcutdir=tests/model", "-pno:cacheprovider",
    "--continue-on-collection-errors", f"-k{SELECTED}",
)  # fmt: skip
PROCESSES = 4  # where pytest-xdist is installed


class Outcomes:
    """A pytest plugin that notes what passed and what did not, and stops when time is up."""

    def __init__(self, seconds: float) -> None:
        """Start with no tests."""
        self._deadline = time.monotonic() + seconds
        self.is_complete = True
        self.passed, self.left_out, self.failed = 0, 0, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test after its call; a failure may be that of a fixture."""
        if time.monotonic() > self._deadline:
            self.is_complete = False
            # pytest-xdist has a session of its own, which looks at no other.
            of_xdist = self._session.config.pluginmanager.getplugin("dsession")
            for session in filter(None, (self._session, of_xdist)):
                session.shouldstop = "the time is up"
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.left_out += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keep the session, which can be stopped."""
        self._session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported; the others run all the same."""
        if report.failed:
            self.failed.append(report.nodeid)


def main() -> None:
    """Run the tests, without the settings for developers in pyproject.toml."""
    answers, sys.stdout = sys.stdout, sys.stderr
    seconds, *files = sys.argv[1:]
    outcomes = Outcomes(float(seconds))
    has_xdist = importlib.util.find_spec("xdist") is not None
    processes = [f"--numprocesses={PROCESSES}"] if has_xdist else []
    code = pytest.main([*OPTIONS, *processes, *files], plugins=[outcomes])
    result = {
        "platform": jax.default_backend(),
        "passed": outcomes.passed,
        "left_out": outcomes.left_out,
        "failed": outcomes.failed,
        "is_complete": outcomes.is_complete,
        "exit_code": int(code),
    }
    print(json.dumps(result), file=answers)


if __name__ == "__main__":
    main()
