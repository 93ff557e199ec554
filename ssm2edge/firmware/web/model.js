// Whole sequences, one at a time: every sample at once.
import description from "./description.js";
import { EdgeError, InputError } from "./errors.js";
import { openSession, run } from "./onnx_engine.js";
import { checkAnswers, gather } from "./ports.js";
import { Stream } from "./stream.js";

/** A model of whole sequences: in WebAssembly by a stream, or in onnxruntime by the graph of whole sequences. */
export class Model {
  #stream = null;
  #session = null;
  #onnxruntime = null;

  /** Open the model: in WebAssembly, or with `onnxruntime` in that module. */
  static async open({ onnxruntime, settings, wasm } = {}) {
    const model = new Model();
    if (onnxruntime) {
      model.#onnxruntime = onnxruntime;
      model.#session = await openSession(onnxruntime, description.files.offline, settings);
    } else {
      model.#stream = await Stream.open({ wasm });
    }
    return model;
  }

  get inputs() {
    return description.offline.inputs;
  }
  get outputs() {
    return description.offline.outputs;
  }

  /** Divisor of the lengths of sequences, the smallest, the only and the largest length; null where any will do. */
  get multiple() {
    return description.offline.multiple;
  }
  get shortest() {
    return description.offline.shortest;
  }
  get length() {
    return description.offline.length;
  }
  get longest() {
    return description.offline.longest;
  }

  /** "wasm" or "onnxruntime". */
  get engine() {
    return this.#stream ? "wasm" : "onnxruntime";
  }

  /** Return the outputs of a whole sequence, by name. */
  async run(samples) {
    const { values, length } = gather(this.inputs, samples);
    this.#checkLength(length);
    if (this.#session) {
      const feeds = {};
      this.inputs.forEach((port, k) => {
        const shape = port.shape.map((size, axis) => (axis === port.timeAxis ? length : size));
        feeds[port.name] = new this.#onnxruntime.Tensor(port.dtype, values[k], [1, ...shape]);
      });
      const found = await run(this.#session, feeds, description.files.offline);
      checkAnswers(this.outputs.map(({ name }) => found[name].data));
      return Object.fromEntries(this.outputs.map(({ name }) => [name, found[name].data]));
    }
    if (!this.#stream) throw new EdgeError("The model is closed: open it again.");
    const { block } = this.#stream;
    if (length % block && this.outputs.some((port) => port.timeAxis === null)) {
      throw new InputError(
        `The sequence has ${length} samples, but WebAssembly answers about whole blocks of ${block}: ` +
          "give a multiple, or open the model with onnxruntime.",
      );
    }
    this.#stream.reset();
    const head = this.#stream.push(samples);
    const tail = this.#stream.flush();
    return Object.fromEntries(this.#stream.outputs.map((port) => [port.name, joined(port, head[port.name], tail[port.name])]));
  }

  /** Release what the model holds; it cannot run afterwards. */
  async close() {
    const [stream, session] = [this.#stream, this.#session];
    this.#stream = this.#session = null;
    await stream?.close();
    await session?.release?.();
  }

  #checkLength(length) {
    if (length === 0) throw new InputError("The sequence has no sample: give at least one.");
    const says = `The sequence has ${length} samples, but the model takes`;
    if (this.length !== null && length !== this.length) throw new InputError(`${says} sequences of exactly ${this.length}.`);
    if (this.longest !== null && length > this.longest) throw new InputError(`${says} no more than ${this.longest}: cut it.`);
    if (length < this.shortest) throw new InputError(`${says} no fewer than ${this.shortest}.`);
    if (length % this.multiple) {
      const whole = Math.floor(length / this.multiple) * this.multiple;
      throw new InputError(`${says} lengths that are multiples of ${this.multiple}: cut it to ${whole} or fill it up.`);
    }
  }
}

/** Join two parts along time; a running answer is the last one. */
function joined(port, head, tail) {
  if (port.timeAxis === null) return tail ?? head;
  if (!tail?.length) return head;
  const rows = port.shape.slice(0, port.timeAxis).reduce((all, size) => all * size, 1);
  const [first, second] = [head.length / rows, tail.length / rows];
  const whole = new head.constructor(head.length + tail.length);
  for (let row = 0; row < rows; ++row) {
    whole.set(head.subarray(row * first, (row + 1) * first), row * (first + second));
    whole.set(tail.subarray(row * second, (row + 1) * second), row * (first + second) + first);
  }
  return whole;
}
