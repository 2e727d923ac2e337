"""The content of a folder, to compare before and after a stage, and how stages are compiled."""

from pathlib import Path

# Compiling takes most of the time, and the compiled code runs only for a moment.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def folder_content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, without .scratch and compiled Python."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"__pycache__", ".scratch"} & {*path.parts}
    }
