// Figures that share one axis of time, and a cursor in all of them.
import { shareAt } from "./charts.js";

export class Board {
  #place;
  #figures = [];
  #waiting = false;
  #pointed = null;
  #from = 0;
  #to = 1;
  /** Place of the cursor where no pointer is; null without one. */
  cursor = null;

  constructor(place) {
    this.#place = place;
    new ResizeObserver(() => this.redraw()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** Add a figure; `draw` gets its canvas and what is shown. */
  add(title, note, draw) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    const said = document.createElement("span");
    said.textContent = note;
    caption.append(title, said);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    canvas.addEventListener("pointermove", (event) => {
      const at = Math.floor(this.#from + shareAt(canvas, event) * (this.#to - this.#from));
      this.#pointed = at >= this.#from && at < this.#to ? at : null;
      this.redraw();
    });
    canvas.addEventListener("pointerleave", () => {
      this.#pointed = null;
      this.redraw();
    });
    figure.append(caption, canvas);
    this.#place.append(figure);
    this.#figures.push({ canvas, draw });
    this.redraw();
  }

  /** Remove all figures. */
  clear() {
    this.#place.replaceChildren();
    this.#figures = [];
  }

  /** Show what stands from one place of the axis to another. */
  show(from, to) {
    this.#from = from;
    this.#to = to;
    this.redraw();
  }

  redraw() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      const shown = { from: this.#from, to: this.#to, at: this.#pointed ?? this.cursor };
      for (const { canvas, draw } of this.#figures) draw(canvas, shown);
    });
  }
}
