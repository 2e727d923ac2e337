"""The HTML page, rendered from its template."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vit_hk.params import AttentionSettings
from vit_hk.report.explorer import Explorer
from vit_hk.report.page_model import encoded_size, make_page_model
from vit_hk.report.weights_file import WeightsFile
from vit_hk.report.wording import counted, percent, points

TEMPLATES = Path(__file__).parent
MAX_BYTES = 5_000_000  # of a page
DRAWN_CHANNELS = (1, 3)  # a person can draw in grey and in colours


def render_page_with_model(
    weights: WeightsFile, attention: AttentionSettings, explorer: Explorer, **content: Any
) -> str:
    """Render the page with the trained model, or without it where the page would be too large.

    With the model, the page can compute what is not stored in it. So stored attention of single
    tokens is left out first, and then images of which no attention is stored.

    Args:
      weights: the weights file.
      attention: the settings of the rollout.
      explorer: the images of the attention explorer.
      **content: the other variables of the template.

    Raises:
      UserError: the weights file is damaged.
    """
    small = explorer.with_stored_attention_only()
    smallest = small.without_token_attention()
    channels = weights.info.image_shape[2]
    can_draw = channels in DRAWN_CHANNELS
    reason = (
        f"the weights of {weights.num_parameters:,} parameters take "
        f"{encoded_size(weights) / 1e6:.1f} MB, and this page is to have at most "
        f"{MAX_BYTES / 1e6:.0f} MB in all."
        if can_draw
        else f"images of 1 or 3 channels can be drawn; those of this model have {channels}."
    )
    choices: list[tuple[dict[str, Any] | None, Explorer]] = []  # the best one first
    # Compared before they are encoded: weights may take a hundred times the room of the page.
    if can_draw and encoded_size(weights) <= MAX_BYTES:
        model = dataclasses.asdict(make_page_model(weights, attention))
        with_model = (explorer, explorer.without_token_attention(), smallest)
        choices += [(model, images) for images in with_model]
    choices += [(None, small), (None, smallest)]
    for page_model, images in choices:
        page = render_page(
            page_model=page_model,
            page_model_missing="" if page_model else reason,
            explorer=dataclasses.asdict(images),
            **content,
        )
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def render_page(**content: Any) -> str:
    """Render report.html with the variables of its template."""
    return render_template("report.html", (TEMPLATES,), **content)


def render_template(name: str, folders: Sequence[Path], **content: Any) -> str:
    """Render a template; all text from outside of it is escaped.

    Args:
      name: the file of the template.
      folders: where it and the files that it includes are looked for, in this order.
      **content: the variables of the template.
    """
    return _environment(tuple(folders)).get_template(name).render(**content)


@functools.cache  # a page is rendered more than once, until it fits: its templates compile once
def _environment(folders: tuple[Path, ...]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(counted=counted, percent=percent, points=points)
    return environment
