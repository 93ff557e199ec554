"use strict";
// Shows what marks (data-tip) and lines (the JSON behind their chart) say under the pointer, a finger or the arrow keys.
(() => {
  const tip = document.getElementById("tip");
  const plain = (v) => {
    if (v === 0) return "0";
    const size = Math.abs(v);
    return size < 1e-3 || size >= 1e5 ? v.toExponential(2).replace("e", " · 10^") : String(Number(v.toPrecision(4)));
  };
  const place = (x, y) => {
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - w - 6)) + "px";
    tip.style.top = (y - h - 14 < 6 ? y + 18 : y - h - 14) + "px";
  };
  const element = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const row = (name, value) => {
    const line = document.createElement("div");
    for (const words of [name, value]) line.appendChild(document.createElement("span")).textContent = words;
    return line;
  };
  let lit = null;
  const dark = () => { if (lit) lit.classList.remove("lit"); lit = null; tip.hidden = true; };
  const light = (mark, x, y) => {
    dark();
    lit = mark;
    mark.classList.add("lit");
    tip.textContent = mark.dataset.tip;
    place(x, y);
  };
  for (const svg of document.querySelectorAll("svg.chart")) {
    const source = svg.nextElementSibling;
    const lines = source && source.type === "application/json" ? JSON.parse(source.textContent) : null;
    const marks = [...svg.querySelectorAll("[data-tip]")];
    let overlay = null, at = -1;
    const clear = () => { if (overlay) overlay.remove(); overlay = null; at = -1; dark(); };
    const show = (index, x, y) => {
      if (overlay) overlay.remove();
      at = index;
      overlay = svg.appendChild(element("g", { "pointer-events": "none" }));
      const bottom = svg.viewBox.baseVal.height - 44;
      overlay.appendChild(element("line", { class: "hair", x1: lines.x[index], x2: lines.x[index], y1: 12, y2: bottom }));
      const head = document.createElement("b");
      head.textContent = lines.title[index];
      tip.replaceChildren(head);
      for (const series of lines.series) {
        overlay.appendChild(element("circle", { class: "spot " + series.kind, cx: lines.x[index], cy: series.y[index], r: 4.5 }));
        tip.appendChild(row(series.name, plain(series.value[index])));
      }
      place(x, y);
    };
    const moved = (event) => {
      if (lines) {
        const box = svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
        let best = 0;
        lines.x.forEach((value, index) => { if (Math.abs(value - x) < Math.abs(lines.x[best] - x)) best = index; });
        show(best, event.clientX, event.clientY);
        return;
      }
      const mark = event.target.closest("[data-tip]");
      if (mark) light(mark, event.clientX, event.clientY); else clear();
    };
    svg.addEventListener("pointermove", moved);
    svg.addEventListener("pointerdown", moved);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") clear(); });
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") clear();
      if (!step) return;
      event.preventDefault();
      const many = lines ? lines.x.length : marks.length;
      if (!many) return;
      const next = Math.max(0, Math.min(many - 1, at + step));
      const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      if (lines) show(next, box.left + lines.x[next] * scale, box.top + lines.series[0].y[next] * scale);
      else {
        const spot = marks[next].getBoundingClientRect();
        light(marks[next], spot.left + spot.width / 2, spot.top);
        at = next;
      }
    });
  }
  addEventListener("scroll", dark, { passive: true });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
