// Charts on canvases that share one axis of time.

const ROW = 26;
const AXIS = 22;
const MOST_ROWS = 16;
const MOST_LINES = 8;
export const LINES = 150; // pixels

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw on a canvas in pixels of the page; the room for labels is the same in all charts of a page. */
function surface(canvas, height) {
  const width = canvas.clientWidth;
  const scale = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const g = canvas.getContext("2d");
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  g.textBaseline = "middle";
  return { g, width, left: room(g, width), right: 46 };
}

let labels = [];

/** Let the labels on the left be these, in all charts. */
export function setLabels(texts) {
  labels = texts;
}

function room(g, width) {
  const widest = Math.max(30, ...labels.map((text) => g.measureText(text).width));
  return Math.min(widest + 10, width * 0.35);
}

/** Return the share of a chart's width, from 0 to 1, at which a pointer stands. */
export function shareAt(canvas, event) {
  const { left, right } = surfaceRoom(canvas);
  const box = canvas.getBoundingClientRect();
  return (event.clientX - box.left - left) / (box.width - left - right);
}

function surfaceRoom(canvas) {
  const g = canvas.getContext("2d");
  return { left: room(g, canvas.clientWidth), right: 46 };
}

/** Draw probabilities: a row for each class, darker where it is more probable, and the figures at one place on the right. */
export function drawRoll(canvas, { names, columns, from, to, at, unit }) {
  const rows = shownRows(columns, names.length);
  const { g, width, left, right } = surface(canvas, rows.length * ROW + AXIS);
  const span = Math.max(1, to - from);
  const plot = width - left - right;
  const [main, soft, ink, grid] = ["--main", "--soft", "--ink", "--grid"].map(colour);
  const shown = columns[Math.min(at ?? columns.length - 1, columns.length - 1)];
  const top = shown ? rows.reduce((best, row) => (shown[row] > shown[best] ? row : best), rows[0]) : null;
  const step = Math.max(1, Math.floor(span / plot));
  rows.forEach((row, place) => {
    const y = place * ROW;
    g.fillStyle = grid;
    g.fillRect(left, y + 2, plot, ROW - 4);
    g.fillStyle = main;
    for (let k = Math.max(0, from); k < Math.min(to, columns.length); k += step) {
      if (!columns[k]) continue;
      g.globalAlpha = Math.min(1, columns[k][row]);
      // At whole pixels, so that no line shines through between neighbours.
      const [x, end] = [k, k + step].map((one) => whole(left + ((Math.min(one, to) - from) / span) * plot));
      g.fillRect(x, y + 2, end - x, ROW - 4);
    }
    g.globalAlpha = 1;
    g.fillStyle = row === top ? ink : soft;
    g.textAlign = "left";
    g.fillText(fitting(g, names[row], left - 8), 0, y + ROW / 2);
    g.textAlign = "right";
    if (shown) g.fillText(`${Math.round(shown[row] * 100)} %`, width, y + ROW / 2);
  });
  drawAxis(g, { left, plot, y: rows.length * ROW, from, span, unit });
  drawCursor(g, { at, left, plot, from, span, height: rows.length * ROW });
}

/** Draw up to eight series of numbers as lines; more as rows of a picture. */
export function drawLines(canvas, { series, from, to, at, unit, limit = [], spans = null }) {
  const { g, width, left, right } = surface(canvas, LINES + AXIS);
  const span = Math.max(1, to - from);
  const plot = width - left - right;
  if (series.length > MOST_LINES) {
    drawPicture(g, { series, from, to, left, plot, span });
  } else {
    const found = range([...series, limit], from, to);
    const [low, high] = found ?? [0, 1];
    const above = spans ? 26 : 8; // room for the words of spans
    const y = (value) => above + (LINES - above - 8) * (1 - (value - low) / (high - low || 1));
    const x = (k) => left + ((k - from + 0.5) / span) * plot;
    for (const { start, end, text } of spans ?? []) {
      const [first, last] = [Math.max(left, x(start)), Math.min(left + plot, x(end))];
      if (last <= left || first >= left + plot) continue;
      g.globalAlpha = 0.16;
      g.fillStyle = colour("--main");
      g.fillRect(first, 0, Math.max(2, last - first), LINES);
      g.globalAlpha = 1;
      g.fillStyle = colour("--ink");
      g.textAlign = "center";
      g.fillText(text, Math.min(Math.max((first + last) / 2, left + 16), left + plot - 16), 10);
    }
    g.fillStyle = colour("--soft");
    g.textAlign = "right";
    for (const value of found === null ? [] : high > low ? [low, high] : [high]) g.fillText(short(value), left - 6, Math.min(Math.max(y(value), 8), LINES - 8));
    drawLine(g, { values: limit, x, y, from, to, style: colour("--soft"), dash: [4, 4] });
    series.forEach((values, k) => drawLine(g, { values, x, y, from, to, style: colour(`--k${k}`), dash: [] }));
    if (at !== null && series.length === 1 && Number.isFinite(series[0][at])) {
      g.fillStyle = colour("--ink");
      g.textAlign = "right";
      g.fillText(short(series[0][at]), width, Math.min(Math.max(y(series[0][at]), 8), LINES - 8));
    }
  }
  drawAxis(g, { left, plot, y: LINES, from, span, unit });
  drawCursor(g, { at, left, plot, from, span, height: LINES });
}

/** Return the place of the nearest pixel of the screen. */
function whole(place) {
  const scale = window.devicePixelRatio || 1;
  return Math.round(place * scale) / scale;
}

function shownRows(columns, count) {
  const rows = Array.from({ length: count }, (_, row) => row);
  if (count <= MOST_ROWS) return rows;
  const best = rows.map((row) => columns.reduce((most, column) => Math.max(most, column?.[row] ?? 0), 0));
  return rows.sort((a, b) => best[b] - best[a]).slice(0, MOST_ROWS).sort((a, b) => a - b);
}

function drawPicture(g, { series, from, to, left, plot, span }) {
  const [low, high] = range(series, from, to) ?? [0, 1];
  const height = LINES / series.length;
  g.fillStyle = colour("--ink");
  series.forEach((values, row) => {
    for (let k = Math.max(0, from); k < Math.min(to, values.length); ++k) {
      g.globalAlpha = (values[k] - low) / (high - low || 1);
      const [x, right] = [k, k + 1].map((one) => whole(left + ((one - from) / span) * plot));
      const [y, bottom] = [row, row + 1].map((one) => whole(one * height));
      g.fillRect(x, y, right - x, bottom - y);
    }
  });
  g.globalAlpha = 1;
}

function range(all, from, to) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of all) {
    for (let k = Math.max(0, from); k < Math.min(to, values.length); ++k) {
      if (!Number.isFinite(values[k])) continue;
      low = Math.min(low, values[k]);
      high = Math.max(high, values[k]);
    }
  }
  return low <= high ? [low, high] : null;
}

function drawLine(g, { values, x, y, from, to, style, dash }) {
  g.beginPath();
  let down = false;
  for (let k = Math.max(0, from); k < Math.min(to, values.length); ++k) {
    if (!Number.isFinite(values[k])) down = false;
    else if (down) g.lineTo(x(k), y(values[k]));
    else {
      g.moveTo(x(k), y(values[k]));
      down = true;
    }
  }
  g.strokeStyle = style;
  g.lineWidth = 1.5;
  g.setLineDash(dash);
  g.stroke();
  g.setLineDash([]);
}

function drawAxis(g, { left, plot, y, from, span, unit }) {
  g.fillStyle = colour("--soft");
  g.textAlign = "center";
  const most = Math.max(2, Math.floor(plot / 70));
  const step = niceStep((span * unit.size) / most);
  const first = Math.ceil((from * unit.size) / step - 1e-9);
  for (let k = first; k * step <= (from + span) * unit.size + 1e-9; ++k) {
    const x = left + ((k * step) / unit.size - from) / span * plot;
    g.fillRect(x, y, 1, 4);
    g.fillText(`${Number((k * step).toPrecision(6))}${unit.name}`, Math.max(x, left + 4), y + 14);
  }
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((part) => part * power >= least);
}

function drawCursor(g, { at, left, plot, from, span, height }) {
  if (at === null || at < from) return;
  g.fillStyle = colour("--ink");
  g.fillRect(left + ((at - from + 0.5) / span) * plot, 0, 1, height);
}

function fitting(g, text, width) {
  if (g.measureText(text).width <= width) return text;
  let kept = text;
  while (kept.length > 1 && g.measureText(`${kept}…`).width > width) kept = kept.slice(0, -1);
  return `${kept}…`;
}

function short(value) {
  return Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-2) ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}
