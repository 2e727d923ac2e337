"""Writes the page template of `dvc plots` with Vega in it, so that plots need no network.

`make` runs this once: python -m vit_hk.dvc.plots_page. DVC's own template loads Vega from the web.
"""

from pathlib import Path

import vl_convert

from vit_hk.atomic import replacing
from vit_hk.errors import one_line_errors

TEMPLATE = Path(".dvc/plots_page.html")
EXPOSE = "window.vegaEmbed = vegaEmbed;"  # the name that DVC's page calls
# The version that compiles for the Vega of the same bundle. The templates in .dvc/plots name no
# version, since DVC's own page and its extension for VS Code have other ones.
VEGA_LITE = "6.4"
# DVC replaces {plot_divs} by the plots. The block keeps the script's names out of the page. DVC
# writes each image below its revision, and all revisions below the name of the file.
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
body { font-family: system-ui, sans-serif; margin: 1rem; }
main > div { margin-bottom: 1rem; overflow-x: auto; }
main > div:has(img) { white-space: normal !important; }
img { max-width: min(100%%, 90vw); height: auto; }
</style>
</head>
<body>
<main>
<h1>DVC plots</h1>
{plot_divs}
</main>
<script>
const title = (element) => element.querySelector("p").textContent;
for (const image of document.images) {
  image.alt = `${title(image.closest("div[id]"))}, ${title(image.parentElement)}`;
}
</script>
</body>
</html>
"""


def main() -> None:
    """Write the template of DVC's plots page, with Vega in it, to .dvc/plots_page.html."""
    script = vl_convert.javascript_bundle(EXPOSE, VEGA_LITE)
    with replacing(TEMPLATE) as temporary:
        temporary.write_text(PAGE % script, "utf-8")


if __name__ == "__main__":
    with one_line_errors():
        main()
