"""Writes the page template of `dvc plots` with Vega in it, so that plots need no network.

`make` runs this once: python -m vit_hk.dvc.plots_page. DVC's own template loads Vega from the web.
"""

from pathlib import Path

import vl_convert

from vit_hk.atomic import replacing
from vit_hk.errors import one_line_errors

TEMPLATE = Path(".dvc/plots_page.html")
EXPOSE = "window.vegaEmbed = vegaEmbed;"  # the name that DVC's page calls
VEGA_LITE = "5.21"  # DVC's plots are written for version 5
# DVC replaces {plot_divs} by the plots. The block keeps the script's names out of the page.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>DVC plots</title>
<link rel="icon" href="data:,">
<script>{
%s
}</script>
<style>
body { font-family: system-ui, sans-serif; }
table { border-spacing: 15px; }
img { max-width: 100%%; }
</style>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    """Write .dvc/plots_page.html."""
    script = vl_convert.javascript_bundle(EXPOSE, VEGA_LITE)
    with replacing(TEMPLATE) as temporary:
        temporary.write_text(PAGE % script, "utf-8")


if __name__ == "__main__":
    with one_line_errors():
        main()
