"use strict";
// What an explorer shows, in the address of the page: #image=4&map=attention&layer=2&head=1&query=3.
// Layers and heads count from 1, as in the page; `query` is there when it is pinned.
const keepAddress = (() => {
  const MEAN = -1;
  const PAUSE = 1000; // ms: changes that follow each other faster are one entry of the history

  function write({ image, map, layer, head, query, pinned }) {
    const parts = [`image=${image}`, `map=${map}`, `layer=${layer + 1}`, `head=${head === MEAN ? "mean" : head + 1}`];
    return `#${[...parts, ...(pinned ? [`query=${query}`] : [])].join("&")}`;
  }

  // A whole number from `start` to `end`, counted from `start`, or NaN.
  function readNumber(text, start, end) {
    const number = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
    return number >= start && number <= end ? number - start : NaN;
  }

  /** Return what an address asks `explorer`, which has `data`, to show, or null if it is no such address. */
  function parse(hash, data, explorer) {
    const tokens = data.prefix_tokens.length + data.rows * data.columns;
    const hasPooledOption = !data.prefix_tokens.includes(data.query_name); // else it is one of the tokens
    const readers = {
      image: (text) => { const index = readNumber(text, 0, Infinity); return explorer.has(index) ? index : NaN; },
      map: (text) => (explorer.hasMap(text) ? text : NaN),
      layer: (text) => readNumber(text, 1, data.layers),
      head: (text) => (text === "mean" ? MEAN : readNumber(text, 1, data.heads)),
      query: (text) => (text === "pooled" && hasPooledOption ? text : readNumber(text, 0, tokens - 1)),
    };
    const result = { query: "pooled", pinned: false };
    for (const [name, text] of new URLSearchParams(hash.replace("#", ""))) {
      const value = Object.hasOwn(readers, name) ? readers[name](text) : NaN;
      if (Number.isNaN(value)) return null;
      result[name] = value;
      if (name === "query") result.pinned = true;
      // An address with a layer is about one layer, unless it names another map.
      if (["layer", "head", "query"].includes(name)) result.map ??= "attention";
    }
    return Object.keys(result).length > 2 ? result : null;
  }

  /** Write what the explorer shows into the address, and show what an address says. */
  return function keepAddress(explorer, data) {
    const first = explorer.read();
    let written = -Infinity; // when
    let last = write(first); // what the explorer shows; the address may name another part of the page

    function follow() {
      const wanted = location.hash ? parse(location.hash, data, explorer) : first;
      if (wanted) explorer.show(wanted);
    }

    explorer.root.addEventListener("explorer-change", ({ detail }) => {
      const hash = write(detail);
      const isSame = hash === last; // as when the pointer moves over the map
      last = hash;
      if (isSame || hash === location.hash || (!location.hash && hash === write(first))) return;
      const isNew = performance.now() - written > PAUSE;
      written = performance.now();
      history[isNew ? "pushState" : "replaceState"](null, "", hash);
    });
    addEventListener("popstate", follow);
    follow();
  };
})();
