"use strict";
/** Show each hint while the region after it is too narrow for what it holds. */
function hintAtScrolling(hints) {
  for (const hint of hints) {
    const region = hint.nextElementSibling;
    const update = () => { hint.classList.toggle("is-needed", region.scrollWidth > region.clientWidth); };
    new ResizeObserver(update).observe(region);
  }
}
