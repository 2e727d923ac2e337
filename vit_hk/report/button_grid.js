"use strict";
// With such a key, a key belongs to the browser: Alt and the left arrow go back in the history.
const hasModifier = ({ altKey, ctrlKey, metaKey }) => altKey || ctrlKey || metaKey;

// Keys of a grid of buttons of which the Tab key reaches one: arrow keys, Home and End move.
function moveInGrid(buttons, columns, index, event) {
  if (hasModifier(event)) return false;
  const column = index % columns;
  const target = {
    ArrowLeft: column > 0 ? index - 1 : index,
    ArrowRight: column < columns - 1 ? index + 1 : index,
    ArrowUp: index - columns,
    ArrowDown: index + columns,
    Home: index - column,
    End: index - column + columns - 1,
  }[event.key];
  if (target === undefined) return false;
  if (target >= 0 && target < buttons.length) buttons[target].focus();
  return true;
}

// The Tab key reaches the button of a group that had the focus last, and at first the first one.
function keepOneTabStop(buttons) {
  const stopAt = (reached) => buttons.forEach((button) => {
    button.tabIndex = button === reached ? 0 : -1;
  });
  for (const button of buttons) button.addEventListener("focus", () => stopAt(button));
  stopAt(buttons[0]);
}

// Make a grid of buttons: `names` of what each switches off, and a function for clicks.
function makeSwitches(names, columns, onClick) {
  const buttons = names.map((name, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("aria-label", `Switch off ${name}`);
    button.setAttribute("aria-pressed", "false");
    button.title = `Switch off ${name}`;
    button.addEventListener("click", () => onClick(index));
    button.addEventListener("keydown", (event) => {
      if (moveInGrid(buttons, columns, index, event)) event.preventDefault();
    });
    return button;
  });
  keepOneTabStop(buttons);
  return buttons;
}

/**
 * Call `act` when a button is clicked; with a finger, when it is tapped while it has the focus.
 *
 * A finger has no other way to point than a first tap, which gives the focus.
 */
function actOnSecondTap(button, act) {
  let isFirstTap = false;
  button.addEventListener("pointerdown", ({ pointerType }) => {
    isFirstTap = pointerType === "touch" && document.activeElement !== button;
  });
  button.addEventListener("click", ({ detail }) => {
    if (isFirstTap && detail) button.focus(); // not all browsers do; a key has no detail
    else act();
  });
}
