"use strict";
/**
 * Let two explorers follow each other, in what both have.
 *
 * `sides` are `{ explorer, data }`, twice. A layer or a head that the other model lacks leaves it as it
 * is; patches correspond where both models cut the image into the same patches.
 */
const moveTogether = (() => {
  const POOLED = "pooled";

  const haveSamePatches = ([a, b]) => a.data.rows === b.data.rows && a.data.columns === b.data.columns;

  // The number of the same token in the other model: tokens before the patches go by their names. The class
  // token and the mean of the patches are both what is classified.
  function translateToken(query, from, to, samePatches) {
    if (query === POOLED) return POOLED;
    const name = from.data.prefix_tokens[query];
    if (name === from.data.query_name) return POOLED;
    if (name !== undefined) return to.data.prefix_tokens.includes(name) ? to.data.prefix_tokens.indexOf(name) : null;
    return samePatches ? query - from.data.prefix_tokens.length + to.data.prefix_tokens.length : null;
  }

  function translate({ image, map, layer, head, query, pinned, activePatch }, from, to, samePatches) {
    const wanted = { activePatch: samePatches ? activePatch : null };
    if (to.explorer.has(image)) wanted.image = image;
    if (to.explorer.hasMap(map)) wanted.map = map;
    if (layer < to.data.layers) wanted.layer = layer;
    if (head < to.data.heads) wanted.head = head;
    if (!pinned) return { ...wanted, query: POOLED, pinned }; // the query is the active patch, if any
    const token = translateToken(query, from, to, samePatches);
    const pooled = to.data.prefix_tokens.indexOf(to.data.query_name); // of the class token
    const pin = token === POOLED && pooled >= 0 ? pooled : token;
    return pin === null ? wanted : { ...wanted, query: pin, pinned };
  }

  /** Return what the two do not share, in a sentence, or an empty text. */
  function describeDifferences([{ data: a }, { data: b }], samePatches) {
    const parts = [];
    if (a.layers !== b.layers) parts.push(`A has ${a.layers} and B ${b.layers} layers`);
    if (a.heads !== b.heads) parts.push(`A has ${a.heads} and B ${b.heads} heads`);
    if (!samePatches) parts.push(`A has ${a.rows} × ${a.columns} and B ${b.rows} × ${b.columns} patches`);
    return parts.length ? `${parts.join("; ")}.` : "";
  }

  return function moveTogether(sides) {
    const samePatches = haveSamePatches(sides);
    let isFollowing = false; // the change of the side that follows is no change of a person
    sides.forEach((from, number) => {
      const to = sides[1 - number];
      from.explorer.root.addEventListener("explorer-change", ({ detail }) => {
        if (isFollowing) return;
        isFollowing = true;
        to.explorer.show(translate(detail, from, to, samePatches));
        isFollowing = false;
      });
    });
    return describeDifferences(sides, samePatches);
  };
})();
