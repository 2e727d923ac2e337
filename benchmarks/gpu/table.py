"""The results of `make bench-gpu` as Markdown, for a terminal and for docs/performance.md."""

from collections.abc import Iterator
from typing import Any

HEADER = (
    "| size | task | precision | batch | | images/s | ms per batch | ours × as fast | "
    "of the TFLOP/s | of the bandwidth | first batch |\n"
    "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)
NUM_COLUMNS = 6  # that each contender fills


def make_table(report: dict[str, Any]) -> str:
    """Return all checks, the time to 99 % and a row for each contender of each cell."""
    lines = [*_checks(report["checks"]), *_training(report["training"]), "", HEADER]
    for name, cell in report["cells"].items():
        lines += _rows(name, cell)
    return "\n".join(lines)


def _checks(checks: dict[str, Any]) -> Iterator[str]:
    for name, check in checks.items():
        if problem := _problem(check):
            yield f"- {name}: {problem}"
        elif name == "tests" and check["is_complete"] and check["exit_code"] not in (0, 1):
            code = check["exit_code"]
            yield f"- tests on {check['platform']}: did not run, pytest ended with {code}"
        elif name == "tests":
            failed = "".join(f"\n  - {test}" for test in check["failed"])
            rest = "" if check["is_complete"] else "; for the others there was no time"
            yield (
                f"- tests on {check['platform']}: {check['passed']} passed, {check['left_out']} "
                f"left out, {len(check['failed'])} failed{rest}{failed}"
            )
        else:
            verdict = "within the tolerances" if check["passed"] else "NOT within the tolerances"
            yield (
                f"- {name}: float32 logits differ by {check['float32_logit_error']}, the gradient "
                f"by {check['float32_gradient_distance']}, bfloat16 by "
                f"{check['bfloat16_distances']}: {verdict}"
            )


def _training(training: dict[str, Any]) -> Iterator[str]:
    for name, result in training.items():
        yield f"- {name}: " + (
            _problem(result)
            or f"{result['seconds']:.1f} s, {result['compile_seconds']:.1f} s of it compiling; "
            f"test accuracy {100 * result['test_accuracy']:.2f} %"
        )


def _rows(name: str, cell: dict[str, Any]) -> Iterator[str]:
    if problem := _problem(cell):
        yield f"| {name} | {problem} |" + " |" * (NUM_COLUMNS + 3)
        return
    work = cell["work"]
    size = name.partition(",")[0]
    for contender, result in cell["contenders"].items():
        start = (
            f"| {size} | {work['task']} | {work['precision']} | {work['batch_size']} | "
            f"{contender} |"
        )
        if problem := _problem(result):
            yield start + f" {problem} |" + " |" * (NUM_COLUMNS - 1)
            continue
        milliseconds = 1000 * work["batch_size"] / result["images_per_second"]
        speedup = cell["speedup"] if contender == cell["fastest_peer"] else None
        yield start + (
            f" {result['images_per_second']:,.0f} | {milliseconds:,.2f} | "
            f"{'' if speedup is None else f'{speedup:.2f}'} | "
            f"{_share(result['share_of_tflops'])} | {_share(result['share_of_bandwidth'])} | "
            f"{result['seconds_to_first_batch']:.1f} s |"
        )


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def _problem(result: dict[str, Any]) -> str | None:
    """Return why there is no result, in one line, or None."""
    for kind in ("error", "skipped"):
        if kind in result:
            # A line break or a bar would break the table.
            text = " ".join(str(result[kind]).replace("|", "/").split())
            return f"{kind}: {text[:200]}"
    return None
