// Samples of a model without a front end: from a table or an array, or the example of this folder.
import { Board } from "./board.js";
import { drawLines, drawRoll, setLabels } from "./charts.js";
import { readJson } from "./files.js";
import { EdgeError, Model, Stream, description, readNpy, readTable, softmax } from "./index.js";
import { copySamples, layout, makeArray } from "./ports.js";
import { attempt, say } from "./status.js";

const SECONDS = 1.2; // in which a sequence is drawn
const at = (id) => document.getElementById(id);

/** Set up the page for a model without a front end. */
export async function showSamples(options) {
  const { inputs, outputs } = description.stream ?? description.offline;
  const timed = inputs.find((port) => port.timeAxis !== null);
  const unit = timed.rate ? { size: 1 / timed.rate, name: " s" } : { size: 1, name: "" };
  const board = new Board(at("figures"));
  const engine = await (description.stream ? Stream : Model).open(options);
  const example = await readJson("./example.json");
  const labels = outputs.filter(hasClasses).flatMap(names);
  let turn = 0;

  at("microphone").hidden = true;
  at("choose-text").textContent = "Choose samples (.csv or .npy)";
  at("file").accept = ".csv,.tsv,.txt,.npy";
  at("example").hidden = !example;
  at("choose").hidden = inputs.length > 1;
  at("example").addEventListener("click", () => attempt(() => show(example.inputs, example.outputs)));
  at("file").addEventListener("change", () => {
    const [file] = at("file").files;
    at("file").value = "";
    if (file) attempt(async () => show({ [timed.name]: await samplesOf(file, timed) }, null));
  });
  // The example is drawn while the page is ready for other samples.
  if (example) attempt(() => show(example.inputs, example.outputs));
  else say("Choose a file: one line a sample.");

  /** Run a sequence and draw it as it is answered. */
  async function show(given, expected) {
    const own = ++turn;
    const values = Object.fromEntries(inputs.map((port) => [port.name, asArray(port, given[port.name])]));
    const length = count(timed, values[timed.name]);
    const series = Object.fromEntries(outputs.map((port) => [port.name, []]));
    setLabels(labels);
    board.clear();
    for (const port of inputs) {
      if (port.timeAxis === null) continue;
      const drawn = channels(port, values[port.name]);
      board.add(port.name, drawn.length > 1 ? `${drawn.length} numbers a sample` : "", (canvas, shown) =>
        drawLines(canvas, { ...shown, series: drawn, unit }),
      );
    }
    for (const port of outputs) addAnswers(board, port, series[port.name], unit);
    board.show(0, length);
    const began = performance.now();
    const [last, spent] = description.stream ? await inBlocks() : await atOnce();
    if (own !== turn) return;
    const parts = [`${length.toLocaleString("en")} samples in ${Math.max(1, Math.round(spent))} ms.`];
    const [port] = outputs;
    if (hasClasses(port) && port.timeAxis === null && last[port.name]) parts.unshift(answer(port, last[port.name]));
    if (expected) parts.push(`Largest difference from onnxruntime: ${difference(series, last, expected).toExponential(0)}.`);
    say(parts.join(" "));

    async function atOnce() {
      const found = await engine.run(values);
      for (const port of outputs) {
        const moments = port.timeAxis === null ? [found[port.name]] : transposed(channels(port, found[port.name]));
        for (let k = 0; k < length; ++k) series[port.name].push(moments[Math.floor((k * moments.length) / length)]);
      }
      board.redraw();
      return [found, performance.now() - began];
    }

    async function inBlocks() {
      const { block } = engine;
      const step = matchMedia("(prefers-reduced-motion: reduce)").matches ? length : Math.ceil(length / (60 * SECONDS));
      let found = {};
      let work = 0;
      engine.reset();
      for (let start = 0, drawn = 0; start < length && own === turn; start += block) {
        const taken = Math.min(block, length - start);
        const clock = performance.now();
        const piece = Object.fromEntries(inputs.map((port) => [port.name, cut(port, values[port.name], length, start, taken)]));
        found = { ...found, ...(await engine.push(piece)) };
        if (taken < block) found = { ...found, ...(await engine.flush()) };
        work += performance.now() - clock;
        if (!performance.getEntriesByName("first-answer").length) performance.mark("first-answer");
        for (const port of outputs) {
          const value = found[port.name];
          if (!value?.length) continue;
          const moments = port.timeAxis === null ? [value] : transposed(channels(port, value));
          for (let k = 0; k < taken; ++k) series[port.name].push(moments[Math.floor((k * moments.length) / taken)]);
        }
        if (start + block >= drawn + step) {
          drawn = start + block;
          board.redraw();
          await new Promise(requestAnimationFrame);
        }
      }
      board.redraw();
      return [found, work];
    }
  }
}

function addAnswers(board, port, moments, unit) {
  const so = port.timeAxis === null ? "answer so far" : "";
  if (hasClasses(port)) {
    const columns = [];
    board.add(port.name, `${so ? `${so}; ` : ""}darker is more probable`, (canvas, shown) => {
      while (columns.length < moments.length) columns.push(softmax(moments[columns.length]));
      drawRoll(canvas, { ...shown, names: names(port), columns, unit });
    });
    return;
  }
  board.add(port.name, so, (canvas, shown) => drawLines(canvas, { ...shown, series: transposed(moments), unit }));
}

function hasClasses(port) {
  const width = port.shape.at(-1);
  const isFirst = port === (description.stream ?? description.offline).outputs[0];
  const isVector = port.shape.length === (port.timeAxis === null ? 1 : 2);
  return isVector && width > 1 && (description.classes.length === width || (isFirst && description.metric === "accuracy"));
}

function names(port) {
  return Array.from({ length: port.shape.at(-1) }, (_, k) => description.classes[k] ?? String(k));
}

function answer(port, scores) {
  const shares = softmax(scores);
  const top = shares.indexOf(Math.max(...shares));
  return `Answer: ${names(port)[top]} (${Math.round(shares[top] * 100)} %).`;
}

function asArray(port, values) {
  const array = makeArray(port.dtype, values.length);
  for (let k = 0; k < values.length; ++k) array[k] = port.dtype === "int64" ? BigInt(values[k]) : Number(values[k]);
  return array;
}

function count(port, values) {
  const { rows, width } = layout(port);
  const found = values.length / (rows * width);
  if (!Number.isInteger(found) || found === 0) {
    throw new EdgeError(`The file has ${values.length} numbers, but the model takes ${rows * width} a sample.`);
  }
  return found;
}

function cut(port, values, total, start, taken) {
  if (port.timeAxis === null) return values;
  const { rows, width } = layout(port);
  const part = makeArray(port.dtype, rows * width * taken);
  copySamples(port, values, total, start, part, taken, 0, taken);
  return part;
}

/** Return the numbers of each channel along time. */
function channels(port, values) {
  const { rows, width } = layout(port);
  const length = values.length / (rows * width);
  return Array.from({ length: rows * width }, (_, channel) => {
    const [row, place] = [Math.floor(channel / width), channel % width];
    return Float64Array.from({ length }, (_, k) => Number(values[(row * length + k) * width + place]));
  });
}

function transposed(lists) {
  return lists.length ? Array.from(lists[0], (_, k) => lists.map((list) => Number(list[k]))) : [];
}

function difference(series, last, expected) {
  return Math.max(
    ...Object.entries(expected).map(([name, values]) => {
      const port = (description.stream ?? description.offline).outputs.find((one) => one.name === name);
      const found = port.timeAxis === null ? last[name] : series[name].flat();
      const scale = Math.max(...values.map(Math.abs), Number.MIN_VALUE);
      if (found.length !== values.length) return Infinity;
      return values.reduce((most, value, k) => Math.max(most, Math.abs(Number(found[k]) - value)), 0) / scale;
    }),
  );
}

async function samplesOf(file, port) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isNpy = bytes[0] === 0x93;
  const { values, shape } = isNpy ? readNpy(bytes) : readTable(new TextDecoder().decode(bytes));
  if (!isNpy && port.timeAxis !== 0) throw new EdgeError("The model has no table of one line a sample as its input: give an .npy file.");
  // An array of several sequences: the first.
  return shape.length > port.shape.length ? values.subarray(0, values.length / shape[0]) : values;
}
