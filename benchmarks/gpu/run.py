"""The steps of a plan, one after the other until the time is used up, and their results."""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.flops import flops_per_batch
from benchmarks.gpu import PACKED_DATASET
from benchmarks.gpu.chips import Chip, find_chip
from benchmarks.gpu.contender import TOO_SLOW, Contender, ContenderError, environment
from benchmarks.gpu.plan import Cell, Plan
from benchmarks.gpu.traffic import bytes_per_batch
from benchmarks.recipes.settings import DATASET
from benchmarks.workload import Workload
from vit_hk.atomic import replacing
from vit_hk.errors import UserError

Result = dict[str, Any]  # of a step; with "error" or "skipped" where there is none
CELLS_BEFORE_99 = 2  # that are timed before the training to 99 %
EXACT_PRODUCTS = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}


class Run:
    """One run of a plan, whose results are written to a file after each step."""

    def __init__(self, plan: Plan, path: Path) -> None:
        """Store the plan and the file of the results; the time of the run starts here.

        Args:
          plan: what to do.
          path: the JSON file of the results.
        """
        self.plan, self.path = plan, path
        self.started = time.monotonic()
        self.chip: Chip | None = None
        self.report: Result = {}
        self.contenders: dict[str, Contender] = {}

    def run(self) -> Result:
        """Take all steps, and return the report.

        Raises:
          UserError: JAX finds no device of the plan's platform.
        """
        self.describe_device()
        self.check_results()
        try:
            for section, name, step in self.timed_steps():
                self.take(section, name, step)
        finally:
            for contender in self.contenders.values():
                contender.stop()
        return self.report

    def describe_device(self) -> None:
        """Start the report with the chip, its limits, and the versions of packages.

        Raises:
          UserError: JAX finds no device of the plan's platform.
        """
        say("device")
        device = self.run_module("device", [])
        # Without a GPU, JAX falls back to the CPU.
        found = device.get("error") or device["platform"]
        if found != self.plan.platform:
            raise UserError(
                f"JAX finds no {self.plan.platform}, but: {found}; install GPU support with: pip "
                "install -r requirements-gpu.txt, or try the benchmark without a GPU with: python "
                "-m benchmarks.gpu --platform cpu --quick"
            )
        self.chip = find_chip(device["name"])
        say(f"{device['name']}, driver {device['driver']}")
        if not self.chip:
            say(f"the limits of {device['name']} are not known, so no shares of them are given")
        self.report = {
            "device": device,
            "limits": self.chip._asdict() if self.chip else None,
            "budget_seconds": self.plan.budget,
            "checks": {},
            "cells": {},
            "training": {},
        }

    def check_results(self) -> None:
        """Compare with the CPU and run the tests, all at once, since nothing is timed here."""
        checks = {
            f"{size}, logits and gradients": lambda work=work: self.check(work)
            for size, work in self.plan.checked.items()
        }
        say(f"{self.elapsed():.0f} s: {', '.join(checks)}, tests")
        with ThreadPoolExecutor() as executor:
            running = {name: executor.submit(check) for name, check in checks.items()}
            running["tests"] = executor.submit(self.run_tests)
        for name, result in running.items():
            self.record("checks", name, result.result())

    def timed_steps(self) -> Iterator[tuple[str, str, Callable[[], Result]]]:
        """Yield the section, the name and the function of each step, the most valuable first."""
        for index, cell in enumerate(self.plan.cells):
            if index == min(CELLS_BEFORE_99, len(self.plan.cells) - 1):
                yield "training", "time to 99 %", self.train_to_99
            yield "cells", str(cell), lambda cell=cell: self.measure(cell)

    def take(self, section: str, name: str, step: Callable[[], Result]) -> None:
        """Take a step if there is time."""
        if self.elapsed() < self.plan.budget:
            say(f"{self.elapsed():.0f} s: {name}")
            result = step()
        else:
            result = self.skipped()
        self.record(section, name, result)

    def skipped(self) -> Result:
        """Return the result of a step for which there is no time."""
        return {"skipped": f"the time of {self.plan.budget:.0f} s was used up"}

    def record(self, section: str, name: str, result: Result) -> None:
        """Add a result to the report, and write it."""
        for problem in ("error", "skipped"):
            if problem in result:
                say(f"{name}: {problem}: {result[problem]}")
        self.report[section][name] = result
        self.report["seconds"] = round(self.elapsed(), 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self.report, indent=2) + "\n", "utf-8")

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def step_deadline(self) -> float:
        """Return the end of a step that starts now, by time.monotonic()."""
        end = self.started + self.plan.budget
        return min(end, time.monotonic() + self.plan.max_step_seconds)

    def check(self, work: Workload) -> Result:
        """Compare the results of a model with those of the CPU."""
        return self.run_module("check", [json.dumps(dataclasses.asdict(work))])

    def run_tests(self) -> Result:
        """Run the tests of the model."""
        if not self.plan.tests:
            return {"skipped": "none are planned"}
        arguments = [str(self.plan.test_seconds), *self.plan.tests]
        return self.run_module("model_tests", arguments, EXACT_PRODUCTS)

    def train_to_99(self) -> Result:
        """Train on MNIST, if it is there."""
        if not DATASET.exists() and not PACKED_DATASET.exists():
            return {"skipped": f"no MNIST in {DATASET}; make it with: dvc repro download"}
        return self.run_module("train_to_99", [str(self.plan.max_epochs)])

    def run_module(
        self, module: str, arguments: Sequence[str], variables: dict[str, str] | None = None
    ) -> Result:
        """Run a module of this package in a process, and return the JSON that it prints last."""
        try:
            process = subprocess.run(
                [sys.executable, "-m", f"benchmarks.gpu.{module}", *arguments],
                stdout=subprocess.PIPE, timeout=self.step_deadline() - time.monotonic(),
                env=environment(self.plan.platform) | (variables or {}),
            )  # fmt: skip
            return json.loads(process.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"error": TOO_SLOW}
        except (IndexError, ValueError):
            return {"error": f"{module} ended with {process.returncode}; see its error above"}

    def measure(self, cell: Cell) -> Result:
        """Measure all contenders of a cell in turns.

        They compile at the same time. If one takes too long, there is time to measure the others.
        """
        work, errors, facts, deadline = cell.work, {}, {}, self.step_deadline()
        ready_by = deadline - self.measuring_seconds(cell)
        if ready_by <= time.monotonic():
            return self.skipped()
        contenders = [self.contender(name) for name in cell.contenders]
        for contender in contenders:
            contender.start_preparing(work, self.plan.round_seconds)
        for contender in contenders:
            with note_error(errors, contender.name):
                facts[contender.name] = contender.receive(ready_by)
        for name in facts:
            with note_error(errors, name):
                self.contender(name).warm_up(deadline)
        seconds: dict[str, list[float]] = {name: [] for name in facts}
        for _ in range(self.plan.rounds):
            for name in [name for name in facts if name not in errors]:
                with note_error(errors, name):
                    seconds[name].append(self.contender(name).measure(deadline))
        results = {
            name: {"error": errors[name]}
            if name in errors
            else summarize(work, name, seconds[name], facts[name], self.chip)
            for name in cell.contenders
        }
        return {"work": dataclasses.asdict(work), "contenders": results} | compare(seconds, errors)

    def measuring_seconds(self, cell: Cell) -> float:
        """Return a generous estimate of the seconds that warm-up and rounds of a cell take."""
        return 4 * self.plan.rounds * self.plan.round_seconds * len(cell.contenders)

    def contender(self, name: str) -> Contender:
        """Return a contender, whose process lives as long as it does not fail."""
        if name not in self.contenders:
            self.contenders[name] = Contender(name, self.plan.platform)
        return self.contenders[name]


@contextlib.contextmanager
def note_error(errors: dict[str, str], name: str) -> Iterator[None]:
    """Store the error of a contender inside the block by its name; the others go on."""
    try:
        yield
    except ContenderError as error:
        errors[name] = str(error)


def summarize(
    work: Workload, name: str, seconds: list[float], facts: Result, chip: Chip | None
) -> Result:
    """Return what a contender reached, and its shares of the chip's limits if they are known.

    Args:
      work: the workload.
      name: the contender; only ours leaves out most of the last block.
      seconds: seconds per batch of each round.
      facts: what the contender's process reported when it was ready.
      chip: the limits.
    """
    median = statistics.median(seconds)
    is_whole = name != "ours"  # the last block
    flops = flops_per_batch(work, whole_last_block=is_whole)
    tflops = flops / median / 1e12
    gigabytes = bytes_per_batch(work, facts["parameters"], is_whole) / median / 1e9
    limit = chip.tflops(work.precision) if chip else None
    return {
        "images_per_second": work.batch_size / median,
        "milliseconds": [1000 * value for value in seconds],
        "tflops": tflops,
        "gigabytes_per_second": gigabytes,
        "share_of_tflops": tflops / limit if limit else None,
        "share_of_bandwidth": gigabytes / chip.bandwidth if chip else None,
        "seconds_to_first_batch": facts["compile_seconds"],
        "parameters": facts["parameters"],
    }


def compare(seconds: dict[str, list[float]], errors: dict[str, str]) -> Result:
    """Return how many times as fast ours is as the fastest peer, the median over rounds."""
    medians = {
        name: statistics.median(values) for name, values in seconds.items() if name not in errors
    }
    peers = [name for name in medians if name != "ours"]
    if "ours" not in medians or not peers:
        return {"fastest_peer": None, "speedup": None}
    peer = min(peers, key=medians.__getitem__)
    ratios = [theirs / ours for theirs, ours in zip(seconds[peer], seconds["ours"], strict=True)]
    return {"fastest_peer": peer, "speedup": statistics.median(ratios)}


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
