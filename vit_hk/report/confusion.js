"use strict";
// Links to images: cells of the confusion matrix, images of a page that compares, and points of plots.
function linkToExplorer(explorer, backLine) {
  let origin = null; // where the focus came from

  function go(from) {
    origin = from;
    backLine.hidden = false;
    backLine.scrollIntoView();
    explorer.focusImages();
  }

  backLine.firstElementChild.addEventListener("click", () => {
    backLine.hidden = true;
    origin.scrollIntoView({ block: "center" });
    origin.focus();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-label], [data-index]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
    const { label, predicted, count, index } = link.dataset;
    if (index !== undefined && explorer.has(Number(index))) explorer.show({ image: Number(index) });
    else if (label === undefined || !explorer.filter({ label, predicted, count })) return;
    event.preventDefault();
    go(link);
  });

  document.addEventListener("open-image", ({ detail, target }) => {
    if (!explorer.has(detail.index)) return;
    explorer.show({ image: detail.index });
    go(target === document ? document.body : target);
  });
}
