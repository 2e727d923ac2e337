import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import noise_png, write_results

from stages import paths
from vit_hk.report.captions import GALLERY


@pytest.fixture(scope="session")
def make_report(tmp_path_factory) -> Callable[..., Path]:
    """Write synthetic results, run the stage `report` on them, and return the project folder.

    The figures take most of the time of the stage: without `draw_figures=True`, noise stands for
    those that the page embeds, and the others are missing.
    """
    stage = importlib.import_module("stages.report")

    def make(settings: dict[str, Any], *, draw_figures: bool = False, **options: Any) -> Path:
        folder = write_results(tmp_path_factory.mktemp("report"), settings, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            if not draw_figures:
                picture = options.get("figure") or noise_png()
                patch.setattr(stage, "draw_figures", lambda *_, **__: write_figures(picture))
            stage.main()
        return folder

    return make


def write_figures(picture: bytes) -> None:
    paths.FIGURES.mkdir(exist_ok=True)
    for known in GALLERY:
        if known.stage == "report":
            (paths.FIGURES / known.name).write_bytes(picture)
