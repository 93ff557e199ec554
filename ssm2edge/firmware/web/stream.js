// Streams: samples go in as they come, outputs come out as soon as they are known.
//
// The model takes blocks of samples.  `push` takes any number, runs every block that is full, and keeps the rest until more come.
// An output along time comes back for every sample whose block was run, `flush` returns the rest.  A running answer is the
// answer over all whole blocks so far; it is absent before the first.
import description from "./description.js";
import { EdgeError, InputError } from "./errors.js";
import { OnnxEngine } from "./onnx_engine.js";
import { checkAnswers, copySamples, gather, layout, makeArray } from "./ports.js";
import { fromBytes, toBytes } from "./snapshot.js";
import { WasmEngine } from "./wasm_engine.js";

class AnyStream {
  #engine;
  #pending = 0;
  #answered = false;
  #taken = 0;
  #kept = null;
  #length;
  #longest;

  constructor(engine) {
    this.#engine = engine;
    ({ length: this.#length, longest: this.#longest } = description.stream);
    this.reset();
  }

  /** Take sequences of any length, also where the answers do not hold for it: to time calls, and to look at states. */
  unbind() {
    this.#length = this.#longest = null;
  }

  /** Samples of a block, and those that belong together because the model changes the rate of time. */
  get block() {
    return description.stream.block;
  }
  get frame() {
    return description.stream.frame;
  }

  /** Samples that wait for their block to fill. */
  get pending() {
    return this.#pending;
  }

  get inputs() {
    return description.stream.inputs;
  }
  get outputs() {
    return description.stream.outputs;
  }

  /** The only number of samples of a sequence, and the largest; null for models that take any. */
  get length() {
    return this.#length;
  }
  get longest() {
    return this.#longest;
  }

  /** SHA-256 of the stream.onnx that the model was made of. */
  get sha256() {
    return description.sha256;
  }

  /** "wasm" or "onnxruntime". */
  get engine() {
    return this.#open().kind;
  }

  /** Forget all samples. */
  reset() {
    this.#open().reset();
    this.#pending = this.#taken = 0;
    this.#answered = false;
  }

  /** Return the states, pending samples and running answers as bytes. */
  snapshot() {
    const header = { ...this.#identity(), pending: this.#pending, answered: this.#answered, taken: this.#taken };
    return toBytes(header, this.#arrays());
  }

  /** Continue where a snapshot was taken. */
  restore(bytes) {
    const header = fromBytes(bytes, this.#identity(), this.#arrays());
    this.#pending = header.pending;
    this.#answered = header.answered;
    this.#taken = header.taken;
  }

  /** Return a new stream that continues from here; this one stays as it is. */
  async copy() {
    const other = new this.constructor(await this.#open().another(description.stream));
    other.restore(this.snapshot());
    return other;
  }

  /** Release what the stream holds; it cannot run afterwards. */
  async close() {
    const engine = this.#engine;
    this.#engine = null;
    await engine?.release();
  }

  /** Fill the engine's inputs, block by block; it makes a step wherever this stops, and the outputs are returned at the end. */
  *_push(samples) {
    const engine = this.#open();
    const { inputs, outputs } = this;
    const { values, length } = gather(inputs, samples);
    if (this.longest !== null && this.#taken + length > this.longest) {
      throw new InputError(
        `The sequence has ${this.#taken} samples and gets ${length} more, but the model takes no more than ${this.longest}: ` +
          "flush or reset the stream where a new sequence begins.",
      );
    }
    this.#keep();
    this.#taken += length;
    const blocks = Math.floor((this.#pending + length) / this.block);
    const parts = outputs.map((port) => this.#empty(port, blocks));
    inputs.forEach((port, k) => port.timeAxis === null && engine.inputs[k].set(values[k]));
    for (let number = 0, start = 0; ; ++number) {
      const count = Math.min(this.block - this.#pending, length - start);
      inputs.forEach((port, k) => {
        if (port.timeAxis !== null) {
          copySamples(port, values[k], length, start, engine.inputs[k], this.block, this.#pending, count);
        }
      });
      this.#pending += count;
      start += count;
      if (this.#pending < this.block) break;
      yield;
      this.#check();
      this.#pending = 0;
      this.#answered = true;
      outputs.forEach((port, k) => {
        if (port.timeAxis === null) return;
        const size = port.shape[port.timeAxis];
        copySamples(port, engine.outputs[k], size, 0, parts[k], blocks * size, number * size, size);
      });
    }
    return { ...this.#named(parts), ...this.#answers() };
  }

  /** The same for the end of a sequence. */
  *_flush() {
    const engine = this.#open();
    const { inputs, outputs } = this;
    if (this.length !== null && this.#taken > 0 && this.#taken < this.length) {
      throw new InputError(
        `The sequence ends after ${this.#taken} samples, but the model takes sequences of exactly ${this.length}: ` +
          "push the rest, or reset the stream.",
      );
    }
    const parts = outputs.map((port) => this.#empty(port, 0));
    // Zeros behind the end would enter running answers, so these are taken before.
    const answers = this.#answers();
    this.#keep();
    if (this.#pending > 0 && outputs.some((port) => port.timeAxis !== null)) {
      const rest = this.block - this.#pending;
      inputs.forEach((port, k) => {
        if (port.timeAxis === null) return;
        const { rows, width } = layout(port);
        const zeros = makeArray(port.dtype, rows * rest * width);
        copySamples(port, zeros, rest, 0, engine.inputs[k], this.block, this.#pending, rest);
      });
      yield;
      this.#check();
      outputs.forEach((port, k) => {
        if (port.timeAxis === null) return;
        const size = port.shape[port.timeAxis];
        const whole = Math.floor(this.#pending / this.frame) * this.frame;
        const known = Math.floor((whole * size) / this.block);
        const { rows, width } = layout(port);
        parts[k] = makeArray(port.dtype, rows * known * width);
        copySamples(port, engine.outputs[k], size, 0, parts[k], known, 0, known);
      });
    }
    this.reset();
    return { ...this.#named(parts), ...answers };
  }

  _step() {
    return this.#open().step();
  }

  #empty(port, blocks) {
    if (port.timeAxis === null) return null;
    const { rows, width } = layout(port);
    return makeArray(port.dtype, rows * blocks * port.shape[port.timeAxis] * width);
  }

  #named(parts) {
    return Object.fromEntries(this.outputs.map((port, k) => [port.name, parts[k]]).filter(([, part]) => part !== null));
  }

  #answers() {
    if (!this.#answered) return {};
    const pairs = this.outputs.map((port, k) => [port, this.#engine.outputs[k]]);
    return Object.fromEntries(pairs.filter(([port]) => port.timeAxis === null).map(([port, value]) => [port.name, value.slice()]));
  }

  /** Copy all that a push changes, into memory that is made once. */
  #keep() {
    const arrays = this.#arrays();
    this.#kept ??= { copies: arrays.map((array) => array.slice()) };
    arrays.forEach((array, k) => this.#kept.copies[k].set(array));
    Object.assign(this.#kept, { pending: this.#pending, answered: this.#answered, taken: this.#taken });
  }

  /** Refuse answers and states that are not finite, and be again as before the push. */
  #check() {
    try {
      checkAnswers(this.#open().checked);
    } catch (fault) {
      this.#arrays().forEach((array, k) => array.set(this.#kept.copies[k]));
      ({ pending: this.#pending, answered: this.#answered, taken: this.#taken } = this.#kept);
      throw fault;
    }
  }

  #identity() {
    return { model: description.sha256, engine: this.#open().kind };
  }

  #arrays() {
    const { states, inputs, outputs } = this.#open();
    return [...states, ...inputs, ...outputs];
  }

  #open() {
    if (this.#engine === null) throw new EdgeError("The stream is closed: open it again.");
    return this.#engine;
  }
}

/** A stream in WebAssembly; it answers at once. */
export class Stream extends AnyStream {
  /** Open a stream: in WebAssembly, or with `onnxruntime` in that module, as an `OnnxStream`. */
  static async open({ onnxruntime, settings, wasm } = {}) {
    if (onnxruntime) return new OnnxStream(await OnnxEngine.open(description, onnxruntime, settings));
    return new Stream(await WasmEngine.open(description, wasm));
  }

  /** Take samples, run the blocks that they fill, and return the outputs that are known now, by name. */
  push(samples) {
    return this.#run(this._push(samples));
  }

  /** End the sequence: return the outputs of the pending samples, and start afresh. */
  flush() {
    return this.#run(this._flush());
  }

  #run(work) {
    let turn = work.next();
    while (!turn.done) {
      this._step();
      turn = work.next();
    }
    return turn.value;
  }
}

/** A stream in onnxruntime; it answers later, and calls wait for each other. */
export class OnnxStream extends AnyStream {
  #last = Promise.resolve();

  push(samples) {
    return this.#queue(() => this._push(samples));
  }

  flush() {
    return this.#queue(() => this._flush());
  }

  #queue(make) {
    const run = async () => {
      const work = make();
      let turn = work.next();
      while (!turn.done) {
        await this._step();
        turn = work.next();
      }
      return turn.value;
    };
    const done = this.#last.then(run);
    this.#last = done.catch(() => {});
    return done;
  }
}
