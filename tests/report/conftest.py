import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import write_results


@pytest.fixture(scope="session")
def make_report(tmp_path_factory) -> Callable[..., Path]:
    """Write synthetic results, run the stage `report` on them, and return the project folder."""
    stage = importlib.import_module("stages.report")

    def make(settings: dict[str, Any], **options: Any) -> Path:
        folder = write_results(tmp_path_factory.mktemp("report"), settings, **options)
        before = Path.cwd()
        os.chdir(folder)
        try:
            stage.main()
        finally:
            os.chdir(before)
        return folder

    return make
