"use strict";
// Puts the parts of the page together.
(() => {
  const runs = JSON.parse(document.getElementById("runs-data").textContent);
  const sides = ["a", "b"].map((letter, number) => {
    const { explorer: data, model } = runs[number];
    const root = document.querySelector(`#explorer-${letter} .explorer`);
    for (const region of root.querySelectorAll(".scroll[role=group]")) { // their names are unique in a page
      region.setAttribute("aria-label", `${region.getAttribute("aria-label")} of ${letter.toUpperCase()}`);
    }
    return { data, explorer: makeExplorer(root, data, model && { model: makeModel(model), pageModel: model }) };
  });
  document.getElementById("apart").textContent = moveTogether(sides);
  const { map } = sides[0].explorer.read();
  if (sides[1].explorer.hasMap(map)) sides[1].explorer.show({ map });
  linkToExplorer(sides[0].explorer, document.getElementById("back-line"));
})();
