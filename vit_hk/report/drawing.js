"use strict";
// A canvas on which a person draws, with mouse, finger or pen.
const makeDrawing = (() => {
  // Paint a stroke from one of its points on, segment by segment: a stroke looks the same while it is
  // drawn and when it is painted again.
  function paintStroke(context, { color, width, points }, from = 0) {
    Object.assign(context, { fillStyle: color, strokeStyle: color, lineWidth: width, lineCap: "round" });
    points.slice(from).forEach((point, n) => {
      context.beginPath();
      if (from + n === 0) {
        context.arc(...point, width / 2, 0, 2 * Math.PI);
        context.fill();
      } else {
        context.moveTo(...points[from + n - 1]);
        context.lineTo(...point);
        context.stroke();
      }
    });
  }

  /**
   * Return a drawing that begins with a base: an object whose `paint(context)` fills the canvas.
   *
   * `brush()` returns the colour and the width, in pixels of the canvas, of the next stroke;
   * `onChange()` is called after each change.
   */
  return function makeDrawing(canvas, firstBase, brush, onChange) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const actions = [firstBase]; // bases and strokes, in the order in which they were made
    let stroke = null; // the one that is being drawn
    let pointer = null; // its pointer: a second finger draws nothing

    const base = () => actions.findLast((action) => action.paint);

    function repaint() {
      base().paint(context);
      for (const action of actions.slice(actions.lastIndexOf(base()) + 1)) paintStroke(context, action);
      onChange();
    }

    function pointAt(event) {
      const box = canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * canvas.width,
        ((event.clientY - box.top) / box.height) * canvas.height,
      ];
    }

    function begin(event) {
      if (event.button !== 0 || stroke) return;
      canvas.setPointerCapture(event.pointerId);
      pointer = event.pointerId;
      stroke = { ...brush(), points: [pointAt(event)] };
      actions.push(stroke);
      paintStroke(context, stroke);
      onChange();
    }

    function extend(event) {
      if (event.pointerId !== pointer || !stroke) return;
      const events = event.getCoalescedEvents?.() ?? [];
      const from = stroke.points.length;
      stroke.points.push(...(events.length ? events : [event]).map(pointAt));
      paintStroke(context, stroke, from);
      onChange();
    }

    function end(event) {
      if (event.pointerId === pointer) stroke = null;
    }

    canvas.addEventListener("pointerdown", begin);
    canvas.addEventListener("pointermove", extend);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    base().paint(context);

    return {
      base,
      repaint,
      start(newBase) {
        actions.push(newBase);
        repaint();
      },
      undo() {
        if (actions.length > 1) actions.pop();
        stroke = null;
        repaint();
      },
      canUndo: () => actions.length > 1,
      isChanged: () => actions.at(-1) !== base(),
      read: () => context.getImageData(0, 0, canvas.width, canvas.height),
    };
  };
})();
