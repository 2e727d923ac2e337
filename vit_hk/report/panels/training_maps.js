"use strict";
// The panel "Attention during training": maps of the same images, with a slider over the epochs.
function showTrainingMaps({ palette, class_names: classNames, image_shape: shape }) {
  const MEAN = -1; // as a head: the mean over heads
  const maps = JSON.parse(document.getElementById("training-data")?.textContent ?? "null");
  if (!maps) return; // left out
  const { rows, columns, layers, heads, epochs, labels } = maps;
  const element = (id) => document.getElementById(`training-${id}`);
  const attention = decodeShares(maps.attention);
  const patchCount = rows * columns;

  // Weights [N] of one snapshot, layer, image and head of an array [S, L, B, H, N].
  function headWeights(step, layer, image, head) {
    const index = ((step * layers + layer) * labels.length + image) * heads + head;
    return attention.subarray(index * patchCount, (index + 1) * patchCount);
  }

  function weightsOf(step, layer, image, head) {
    if (head !== MEAN) return headWeights(step, layer, image, head);
    return meanOverHeads(heads, (each) => headWeights(step, layer, image, each));
  }

  const items = maps.pixels.map((pixels) => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    const caption = document.createElement("p");
    const item = document.createElement("li");
    item.append(canvas, caption);
    element("images").append(item);
    return { canvas, caption, item, outline: traceOutline(decodePixels(pixels), shape) };
  });

  function drawImage(image, weights, step, max) {
    const { canvas, caption, item, outline } = items[image];
    drawMap(canvas, { rows, columns, image_shape: shape }, weights, colorScale(palette, max), outline);
    const most = indexOfLargest(weights);
    canvas.setAttribute("aria-label", `Image ${image + 1}: the largest share of attention, ${percent(weights[most])}, goes to ` +
      patchPlace(most, columns));
    const predicted = maps.predicted[step][image];
    const isWrong = predicted !== labels[image];
    item.classList.toggle("wrong", isWrong);
    caption.replaceChildren("predicted ", nameElement(classNames[predicted]), `, ${(100 * maps.confidence[step][image]).toFixed(0)} %`,
      ...(isWrong ? ["; true ", nameElement(classNames[labels[image]])] : []));
  }

  function draw() {
    const step = Number(element("epoch").value);
    const [layer, head] = [Number(element("layer").value), Number(element("head").value)];
    const all = epochs.map((_, each) => labels.map((__, image) => weightsOf(each, layer, image, head)));
    const max = all.flat().reduce((largest, weights) => Math.max(largest, ...weights), 0);
    labels.forEach((_, image) => drawImage(image, all[step][image], step, max));
    const correct = labels.filter((label, image) => maps.predicted[step][image] === label).length;
    const text = `${epochs[step]} of ${epochs.at(-1)}`;
    element("epoch-text").textContent = text;
    element("epoch").setAttribute("aria-valuetext", `after epoch ${text}, ${correct} of ${labels.length} correct`);
    element("summary").textContent =
      `After epoch ${epochs[step]}: ${correct} of ${labels.length} of these images are classified correctly.`;
    element("middle").textContent = percent(max / 4);
    element("max").textContent = percent(max);
  }

  for (const id of ["epoch", "layer", "head"]) element(id).addEventListener("input", draw);
  element("app").hidden = false;
  draw();
}
