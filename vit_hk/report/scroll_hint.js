"use strict";
/** Show each hint while the region after it is too narrow for what it holds. */
function hintAtScrolling(hints) {
  for (const hint of hints) {
    const region = hint.nextElementSibling;
    new ResizeObserver(() => { hint.classList.toggle("is-needed", region.scrollWidth > region.clientWidth); }).observe(region);
  }
}
