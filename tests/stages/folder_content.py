"""The content of a folder, to compare before and after a stage."""

from pathlib import Path


def folder_content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, without .scratch and compiled Python."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"__pycache__", ".scratch"} & {*path.parts}
    }
