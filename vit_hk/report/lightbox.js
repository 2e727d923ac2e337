"use strict";
// Figures open in a dialog at their full size. Escape closes it, and the focus returns: both by the browser.
function enlargeFigures(images) {
  const dialog = document.createElement("dialog");
  dialog.className = "lightbox";
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
  const large = Object.assign(document.createElement("img"), { alt: "" });
  const area = document.createElement("div");
  Object.assign(area, { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Enlarged figure" });
  area.append(large);
  dialog.append(close, area);
  document.body.append(dialog);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const image of images) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "enlarge" });
    button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      Object.assign(large, { src: image.src, alt: image.alt });
      dialog.setAttribute("aria-label", image.alt);
      dialog.showModal();
      area.focus();
    });
  }
}
