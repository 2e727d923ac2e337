import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import make_results


@pytest.fixture(scope="session")
def make_report(tmp_path_factory) -> Callable[..., Path]:
    """Write results as `make_results` does and a report about them; give the folder."""
    stage = importlib.import_module("stages.report")

    def make(settings: dict[str, Any], **how: Any) -> Path:
        folder = make_results(tmp_path_factory.mktemp("report"), settings, **how)
        before = Path.cwd()
        os.chdir(folder)
        try:
            stage.main()
        finally:
            os.chdir(before)
        return folder

    return make
