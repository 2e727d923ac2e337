"use strict";
/**
 * Start the panels of the page.
 *
 * `explorer`, `data` and `network` are those of explorer.js; the first and the last may be null.
 */
function startPanels(explorer, data, network) {
  showTrainingMaps(data);
  showFeatureMap(data, network);
  showFlow(explorer, data, network);
}
