"use strict";
// The strip of images of the explorer, with what is shown of it and in which order.
const makeImageStrip = (() => {
  const ORDERS = {
    page: () => 0, // as in the data: `sort` keeps the order of equal elements
    surest: (a, b) => b.confidence - a.confidence,
    unsurest: (a, b) => a.confidence - b.confidence,
    index: (a, b) => a.index - b.index,
  };
  const KINDS = {
    all: () => true,
    wrong: (image) => image.label !== image.predicted,
    correct: (image) => image.label === image.predicted,
  };

  /**
   * Make the strip in the elements that `part` finds; `select(image)` is called when a person
   * chooses an image, or a filter hides the one that is shown.
   */
  return function makeImageStrip(part, data, nameImage, select) {
    const filters = ["kind", "label", "predicted", "order"];
    let current = null;

    function fillClasses(name) {
      const used = new Set(data.images.map((image) => image[name]));
      data.class_names.forEach((text, number) => {
        if (used.has(number)) part(name).append(new Option(text, number));
      });
    }

    function makeLabel(image) {
      const label = document.createElement("label");
      label.classList.toggle("wrong", KINDS.wrong(image));
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "image", value: image.index });
      input.addEventListener("change", () => select(image));
      const canvas = document.createElement("canvas");
      drawPixels(canvas, decodePixels(image.pixels), data.image_shape);
      const number = document.createElement("i");
      Object.assign(number, { className: "unseen", textContent: `Test image ${image.index}: ` });
      const text = document.createElement("span");
      text.append(...nameImage(image));
      label.append(input, canvas, number, text);
      label.title = `test image ${image.index}, probability ${(100 * image.confidence).toFixed(1)} %`;
      return label;
    }

    const labels = new Map(data.images.map((image) => [image, makeLabel(image)]));

    const isShown = (image) => KINDS[part("kind").value](image) && ["label", "predicted"].every((name) =>
      part(name).value === "" || Number(part(name).value) === image[name]);

    const listed = () => data.images.filter(isShown).sort(ORDERS[part("order").value]);

    function fill() {
      const images = listed();
      part("images").replaceChildren(...images.map((image) => labels.get(image)));
      part("count").textContent = `${images.length} of ${data.images.length}`;
      part("none").hidden = images.length > 0;
      checkCurrent();
      return images;
    }

    // A filter removes labels from the page. When they come back, two of them may be checked.
    function checkCurrent() {
      if (current) labels.get(current).firstChild.checked = true;
    }

    function refilter() {
      const images = fill();
      if (images.length && !images.includes(current)) select(images[0]);
      else scrollToCurrent();
    }

    function scrollToCurrent() {
      const label = labels.get(current);
      const strip = part("images");
      if (label.isConnected) strip.scrollLeft = label.offsetLeft - (strip.clientWidth - label.offsetWidth) / 2;
    }

    ["label", "predicted"].forEach(fillClasses);
    for (const name of filters) part(name).addEventListener("change", refilter);
    fill();

    function mark(image) {
      current = image;
      if (!labels.get(image).isConnected) {
        for (const name of ["kind", "label", "predicted"]) part(name).selectedIndex = 0;
        fill();
      }
      checkCurrent();
      scrollToCurrent();
    }

    return {
      /** Mark an image as the one that is shown; filters that hide it are reset. */
      mark,
      /**
       * Show the images of a true and a predicted class only, and select the first of them.
       *
       * `count` is how many there are; where the strip does not have all, nothing changes, and the
       * result is false.
       */
      filter({ label, predicted, count }) {
        const isOfPair = (image) => image.label === Number(label) && image.predicted === Number(predicted);
        if (data.images.filter(isOfPair).length < Number(count)) return false;
        Object.assign(part("kind"), { value: "all" });
        Object.assign(part("label"), { value: label });
        Object.assign(part("predicted"), { value: predicted });
        refilter();
        return true;
      },
      /** Move the focus to the image that is shown; filters that hide it are reset. */
      focus() {
        mark(current);
        labels.get(current).firstChild.focus();
      },
    };
  };
})();
