"use strict";
// Puts the parts of the page together.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
  const data = read("explorer-data");
  const trying = read("try-data");
  const network = trying && { model: makeModel(trying.model), pageModel: trying.model };
  const explorer = data.images.length ? makeExplorer(document.querySelector("#explorer .explorer"), data, network) : null;
  if (explorer) {
    keepAddress(explorer, data);
    linkToExplorer(explorer, document.getElementById("back-line"));
  }
  if (trying) tryModel(trying, network.model, explorer);
  startPanels(explorer, data, network);
  hintAtScrolling(document.querySelectorAll(".scrolls"));
  enlargeFigures(document.querySelectorAll(".picture img"));
})();
