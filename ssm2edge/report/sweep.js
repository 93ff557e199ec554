"use strict";
// Draws the cells of a sweep: one model at a time, a point each, with filters, axes to choose and the front of the best.
(() => {
  const { cells, chosen, sizes: SIZES } = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const tip = by("tip");
  const kib = (v) => (v >= 2 ** 30 ? digits(v / 2 ** 30) + " GiB" : v >= 1 << 20 ? digits(v / (1 << 20)) + " MiB" : digits(v / 1024) + " KiB");
  const digits = (v) => (v === 0 ? "0" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en").replaceAll(",", "\u202f") : String(Number(v.toPrecision(3))));
  const time = (v) => (v >= 1 ? digits(v) + " s" : v >= 1e-3 ? digits(v * 1e3) + " ms" : digits(v * 1e6) + " µs");
  const share = (v) => (100 * v).toFixed(2) + " %";
  const points = (v) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(2);
  const metric = (c) => c.figures.metric;
  const AXES = {
    bytes: ["bytes of the largest graph", kib],
    offline_bytes: ["bytes of the whole-sequence graph", kib],
    stream_bytes: ["bytes of the streaming graph", kib],
    weight_bytes: ["bytes of the numbers in the largest graph", kib],
    latency: ["latency of a sequence", time],
    latency_ratio: ["latency, original = 1", digits],
    multiply_adds: ["multiply-adds of a sequence", digits],
    stream_multiply_adds: ["multiply-adds of a block", digits],
    ram: ["RAM on a device", kib],
    flash: ["flash on a device", kib],
    parameters: ["parameters of the SSM layers", digits],
  };
  const UP = {
    artifact: (c) => (metric(c) === "nrmse" ? ["NRMSE", (v) => v.toFixed(4), 1] : ["accuracy", share, -1]),
    loss: (c) => [metric(c) === "nrmse" ? "rise of the NRMSE, hundredths" : "loss, points", points, 1],
    error: () => ["relative error of the outputs", share, 1],
  };
  const words = (name) => name.replaceAll("_", " ");
  const shown = (value) => (value === undefined ? "default" : value === null ? "inf" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const element = (name, attributes = {}, words = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (words) made.textContent = words;
    return made;
  };
  const html = (name, attributes = {}, ...inside) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };
  const models = [...new Set(cells.map((c) => c.model))];
  const state = { model: chosen ? (cells.find((c) => c.name === chosen.name) || cells[0] || {}).model : models[0], x: "bytes", y: "", colour: "", off: {}, seen: null, sort: "", down: false };
  const mine = () => cells.filter((c) => c.model === state.model);
  const varied = () => {
    const names = [...new Set(mine().flatMap((c) => Object.keys(c.options)))];
    return names.filter((name) => new Set(mine().map((c) => shown(c.options[name]))).size > 1);
  };
  const values = (name) => [...new Set(mine().map((c) => shown(c.options[name])))];
  const some = (key) => mine().some((c) => c.figures[key] !== null && c.figures[key] !== undefined);
  const visible = () => mine().filter((c) => varied().every((name) => !(state.off[name] || new Set()).has(shown(c.options[name]))));
  const label = (c) => {
    const names = varied().filter((name) => name in c.options);
    return names.map((name) => `${words(name)} ${shown(c.options[name])}`).join(", ") || c.name;
  };

  const controls = () => {
    const pick = (title, key, options) => {
      const select = html("select");
      for (const [value, words] of options) select.append(html("option", { value }, words));
      select.value = state[key];
      select.addEventListener("change", () => { state[key] = select.value; if (key === "model") { state.off = {}; state.seen = null; } all(); });
      return html("label", { class: "pick" }, title, select);
    };
    const bar = by("controls");
    bar.replaceChildren();
    if (models.length > 1) bar.append(pick("model", "model", models.map((m) => [m, m])));
    bar.append(pick("across", "x", Object.keys(AXES).filter(some).map((key) => [key, AXES[key][0]])));
    bar.append(pick("up", "y", Object.keys(UP).filter(some).map((key) => [key, UP[key](mine()[0])[0]])));
    const kinds = varied().filter((name) => !SIZES.includes(name));
    if (kinds.length > 1) bar.append(pick("colour", "colour", kinds.map((name) => [name, words(name)])));
    for (const name of varied().filter((one) => values(one).length <= 12)) {
      const field = html("fieldset", {}, html("legend", {}, words(name)));
      for (const value of values(name)) {
        const box = html("input", { type: "checkbox" });
        box.checked = !(state.off[name] || new Set()).has(value);
        box.addEventListener("change", () => {
          const off = (state.off[name] ||= new Set());
          if (box.checked) off.delete(value); else off.add(value);
          draw();
        });
        field.append(html("label", {}, box, value));
      }
      bar.append(field);
    }
  };

  const nice = (rough) => {
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999);
  };
  const scale = (list, from, to, log) => {
    let low = Math.min(...list), high = Math.max(...list);
    if (log) {
      if (high < 1.2 * low) { low /= 1.2; high *= 1.2; }
      const margin = (high / low) ** 0.05;
      low /= margin; high *= margin;
      const at = (v) => from + (Math.log(v / low) / Math.log(high / low)) * (to - from);
      const ticks = [];
      for (let n = Math.floor(Math.log10(low)); 10 ** n <= high; n++)
        for (const f of high / low < 30 ? [1, 2, 5] : [1]) if (f * 10 ** n >= low && f * 10 ** n <= high) ticks.push(f * 10 ** n);
      return { at, ticks };
    }
    if (high - low < 1e-12 * Math.abs(high) + 1e-15) { const gap = Math.abs(high) * 0.05 || 1; low -= gap; high += gap; }
    const step = nice((high - low) / 4), margin = 0.06 * (high - low);
    low -= margin; high += margin;
    const ticks = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(n * step);
    return { at: (v) => from + ((v - low) / (high - low)) * (to - from), ticks };
  };
  const sized = (list, log) => {
    // Axes of bytes have ticks at powers of two times round numbers of KiB.
    if (AXES[state.x][1] !== kib) return null;
    const low = Math.min(...list), high = Math.max(...list), found = [];
    if (!log) { const step = nice((high - low || 0.1 * high || 1) / 1024 / 4) * 1024; for (let n = 0; n * step <= high * 1.1; n++) found.push(n * step); return found; }
    for (let n = 0; n < 40; n++) for (const f of [1, 1.5]) found.push(f * 2 ** n);
    return found;
  };
  const better = (c) => UP[state.y](c)[2];
  const value = (c) => c.figures[state.y];
  const front = (list) => {
    let best = Infinity;
    return [...list].sort((a, b) => a.figures[state.x] - b.figures[state.x] || better(a) * (value(a) - value(b)))
      .filter((c) => { const cost = better(c) * value(c); if (cost >= best) return false; best = cost; return true; });
  };
  const tell = (c, x, y) => {
    tip.replaceChildren(html("b", {}, label(c)));
    const [up, form] = UP[state.y](c);
    for (const [name, words] of [[up, form(value(c))], [AXES[state.x][0], AXES[state.x][1](c.figures[state.x])]])
      tip.append(html("div", {}, html("span", {}, name), html("span", {}, words)));
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - w - 6)) + "px";
    tip.style.top = (y - h - 14 < 6 ? y + 18 : y - h - 14) + "px";
  };

  const draw = () => {
    const list = visible().filter((c) => c.figures[state.x] != null && value(c) != null);
    const kinds = state.colour ? values(state.colour) : [];
    const colour = (c) => "kind" + (state.colour ? Math.min(7, kinds.indexOf(shown(c.options[state.colour]))) : 0);
    by("title").textContent = `${UP[state.y](mine()[0])[0]} against ${AXES[state.x][0]}`;
    by("legend").replaceChildren(...kinds.map((kind, n) => html("span", { class: "key" }, html("i", { class: `spot kind${Math.min(7, n)}` }), `${words(state.colour)} ${kind}`)));
    const width = Math.max(300, by("plot").clientWidth), height = Math.round(Math.min(460, Math.max(300, width * 0.62)));
    const left = 66, right = 16, top = 14, bottom = 46;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${list.length} cells: ${by("title").textContent}` });
    tip.hidden = true;
    if (!list.length) {
      svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No cell is left; choose more values above."));
      by("plot").replaceChildren(svg);
      table(list);
      return;
    }
    const xs = list.map((c) => c.figures[state.x]), ys = list.map(value);
    const before = state.y === "artifact" ? mine()[0].figures.original : null;
    const log = Math.min(...xs) > 0 && Math.max(...xs) > 6 * Math.min(...xs);
    const steep = state.y === "error" && Math.min(...ys) > 0 && Math.max(...ys) > 20 * Math.min(...ys);
    const x = scale(xs, left, width - right, log), y = scale(before === null ? ys : [...ys, before], height - bottom, top, steep);
    let last = -99;
    for (const tick of sized(xs, log) || x.ticks) {
      const at = x.at(tick), name = AXES[state.x][1](tick);
      const half = 3.5 * name.length, end = at > width - right - 24;
      if (at < left || at > width - right || at - (end ? 2 * half : half) < last + 12) continue;
      last = end ? at : at + half;
      svg.append(element("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - bottom }));
      svg.append(element("text", { x: at, y: height - bottom + 17, "text-anchor": end ? "end" : "middle" }, name));
    }
    for (const tick of y.ticks) {
      const at = y.at(tick);
      svg.append(element("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
      svg.append(element("text", { x: left - 7, y: at + 4, "text-anchor": "end" }, UP[state.y](list[0])[1](tick)));
    }
    svg.append(element("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    svg.append(element("text", { class: "title", x: (left + width - right) / 2, y: height - 7, "text-anchor": "middle" }, AXES[state.x][0]));
    if (before !== null) {
      const at = y.at(before);
      svg.append(element("line", { class: "was", x1: left, x2: width - right, y1: at, y2: at }));
      svg.append(element("text", { class: "was", x: width - right, y: at < top + 24 ? at + 16 : at - 6, "text-anchor": "end" }, "original " + UP.artifact(list[0])[1](before)));
    }
    const edge = front(list), best = new Set(edge);
    svg.append(element("path", { class: "front", d: "M" + edge.map((c) => `${x.at(c.figures[state.x]).toFixed(1)} ${y.at(value(c)).toFixed(1)}`).join("L") }));
    const marks = [], named = [];
    for (const c of [...list].sort((a, b) => best.has(a) - best.has(b))) {
      const [cx, cy] = [x.at(c.figures[state.x]), y.at(value(c))];
      const mark = element("circle", { class: `cell ${colour(c)}${best.has(c) ? "" : " off"}`, cx: cx.toFixed(1), cy: cy.toFixed(1), r: best.has(c) ? 7 : 5.5, "data-name": c.name });
      svg.append(mark);
      marks.push([c, mark, cx, cy]);
      if (c === state.seen) svg.append(element("circle", { class: "seen", cx, cy, r: 10 }));
      if (chosen && c.name === chosen.name) {
        svg.append(element("circle", { class: "chosen", cx, cy, r: 12 }));
        named.push(element("text", { class: "chosen", x: cx > width - 90 ? cx - 16 : cx + 16, y: cy + 4, "text-anchor": cx > width - 90 ? "end" : "start" }, "chosen"));
      }
    }
    svg.append(...named);
    const nearest = (event) => {
      const box = svg.getBoundingClientRect(), ratio = width / box.width;
      const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
      const far = marks.map(([c, mark, cx, cy]) => [Math.hypot(cx - px, cy - py), c, mark]).sort((a, b) => a[0] - b[0])[0];
      return far && far[0] < 26 ? far : null;
    };
    const dim = () => { tip.hidden = true; for (const [, mark] of marks) mark.classList.remove("lit"); };
    const over = (event) => { dim(); const found = nearest(event); if (found) { found[2].classList.add("lit"); tell(found[1], event.clientX, event.clientY); } };
    svg.addEventListener("pointermove", over);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") dim(); });
    svg.addEventListener("click", (event) => { const found = nearest(event); if (found) see(found[1]); });
    const order = [...marks].sort((a, b) => a[2] - b[2]);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") dim();
      if (!step) return;
      event.preventDefault();
      const at = order.findIndex(([c]) => c === state.seen);
      see(order[Math.max(0, Math.min(order.length - 1, at < 0 ? 0 : at + step))][0]);
      by("plot").firstChild.focus();
    });
    by("plot").replaceChildren(svg);
    table(list);
  };

  const see = (c) => { state.seen = c; detail(); draw(); };
  const detail = () => {
    const c = state.seen, f = c.figures;
    const rows = Object.entries(c.options).map(([name, v]) => [words(name), shown(v)]);
    if (f.metric) rows.push([UP.artifact(c)[0], `${UP.artifact(c)[1](f.original)} → ${UP.artifact(c)[1](f.artifact)}`], ["loss", `${points(f.loss)}, ${f.samples} samples`]);
    if (f.error != null) rows.push(["output error", share(f.error)]);
    for (const key of Object.keys(AXES)) if (f[key] != null) rows.push([AXES[key][0], AXES[key][1](f[key])]);
    if (c.seconds !== null) rows.push(["built in", time(c.seconds)]);
    if (c.peak_bytes !== null) rows.push(["memory of its build", kib(c.peak_bytes)]);
    const body = html("tbody");
    for (const [name, v] of rows) body.append(html("tr", {}, html("th", { scope: "row" }, name), html("td", { class: "n" }, v)));
    const parts = [html("h3", {}, label(c))];
    if (chosen && chosen.name === c.name) {
      const limits = Object.entries(chosen.limits).map(([name, v]) => `${words(name)} ${name === "max_bytes" ? kib(v) : digits(v)}`).join(", ");
      const judged = chosen.judged === null ? "" : `; loses ${points(chosen.judged)} on ${chosen.judging} samples that chose nothing`;
      parts.push(html("p", { class: "good" }, `Chosen for ${limits}${judged}.`));
    }
    parts.push(html("table", {}, body), html("p", { class: "note" }, html("a", { href: c.directory + "/report.html" }, "report of this cell")), html("code", {}, c.directory));
    by("cell").replaceChildren(...parts);
  };

  const table = (list) => {
    const columns = varied().map((name) => [words(name), (c) => c.options[name], shown, false]);
    if (mine().some(metric)) columns.push([UP.artifact(mine()[0])[0], (c) => c.figures.artifact, (v) => (v === null ? "" : UP.artifact(mine()[0])[1](v)), true], ["loss", (c) => c.figures.loss, (v) => (v === null ? "" : points(v)), true]);
    for (const [name, key] of [["error", "error"], ["largest graph", "bytes"], ["latency", "latency"], ["multiply-adds", "multiply_adds"], ["RAM", "ram"]])
      if (some(key)) columns.push([name, (c) => c.figures[key], (v) => (v === null || v === undefined ? "" : key === "error" ? share(v) : AXES[key][1](v)), true]);
    const sorted = [...list];
    const at = columns.find(([name]) => name === state.sort);
    if (at) sorted.sort((a, b) => { const [p, q] = [at[1](a), at[1](b)]; return (state.down ? -1 : 1) * (typeof p === "number" && typeof q === "number" ? p - q : String(p).localeCompare(String(q))); });
    const head = html("tr");
    for (const [name, , , figures] of columns) {
      const button = html("button", { type: "button" }, name);
      button.addEventListener("click", () => { state.down = state.sort === name && !state.down; state.sort = name; draw(); });
      const cell = html("th", { scope: "col", ...(figures ? { class: "n" } : {}), ...(state.sort === name ? { "aria-sort": state.down ? "descending" : "ascending" } : {}) }, button);
      head.append(cell);
    }
    const [thead, tbody] = document.querySelector("#all table").children;
    thead.replaceChildren(head);
    tbody.replaceChildren(...sorted.map((c) => {
      const marked = [c === state.seen ? "seen" : "", chosen && chosen.name === c.name ? "chosen" : ""].join(" ").trim();
      const row = html("tr", marked ? { class: marked } : {});
      columns.forEach(([, get, form, figures], n) => row.append(n ? html("td", figures ? { class: "n" } : {}, form(get(c))) : html("th", { scope: "row" }, form(get(c)))));
      row.addEventListener("click", () => see(c));
      return row;
    }));
  };

  const all = () => {
    if (!cells.length) { document.querySelector(".split").remove(); by("all").remove(); return; }
    const kinds = varied().filter((name) => !SIZES.includes(name));
    if (!kinds.includes(state.colour)) state.colour = kinds.find((name) => name !== "seed") || kinds[0] || "";
    if (!some(state.x)) state.x = "bytes";
    if (!state.y || !some(state.y)) state.y = Object.keys(UP).find(some) || "loss";
    const fitting = mine().filter((c) => value(c) != null && c.figures[state.x] != null);
    if (!state.seen) state.seen = fitting.find((c) => chosen && c.name === chosen.name) || front(fitting).at(-1) || mine()[0];
    controls();
    detail();
    draw();
  };
  all();
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => cells.length && draw(), 80); });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
