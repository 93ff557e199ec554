// Made by ssm2edge: a streaming model in WebAssembly, for browsers and Node.

/** Samples of a block, ports in their order, names of the classes, and samples a second of a microphone (0 without a front end). */
export const block = @block@;
export const inputs = @inputs@;
export const outputs = @outputs@;
export const classes = @classes@;
export const sampleRate = @rate@;

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, bool: Uint8Array };
const MOST = 1024; // samples that one call of the front end takes

let compiled;

async function compile(url) {
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return WebAssembly.compile(await readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be read (${response.status}).`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** One stream: samples go in as they come, answers come out. */
export class Stream {
  #exports;

  /** Open a stream; the module is compiled once. */
  static async open(url = new URL("./@name@.wasm", import.meta.url)) {
    compiled ??= compile(url);
    return new Stream(await WebAssembly.instantiate(await compiled, {}));
  }

  constructor(instance) {
    this.#exports = instance.exports;
    this.reset();
  }

  /** Take one block, an array for each input in their order, and return its outputs by name. */
  push(...samples) {
    if (samples.length !== inputs.length) throw new Error(`The model takes ${inputs.length} inputs, not ${samples.length}.`);
    samples.forEach((values, place) => {
      if (values.length !== inputs[place].size) {
        throw new Error(`${inputs[place].name} has ${values.length} numbers, but a block takes ${inputs[place].size}.`);
      }
      this.#array(place, inputs[place]).set(values);
    });
    this.#exports.step();
    return this.answers();
  }

  /** Take samples of a microphone, from -1 to 1, and return the number of frames that they complete. */
  hear(samples) {
    if (!sampleRate) throw new Error("The model has no front end: push its inputs.");
    const place = new Int16Array(this.#exports.memory.buffer, this.#exports.sound_place(), MOST);
    let frames = 0;
    for (let start = 0; start < samples.length; start += MOST) {
      const part = samples.subarray(start, start + MOST);
      part.forEach((value, k) => (place[k] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)))));
      frames += this.#exports.hear(part.length);
    }
    return frames;
  }

  /** Copies of the outputs after the last block, by name. */
  answers() {
    return Object.fromEntries(outputs.map((port, k) => [port.name, this.#array(inputs.length + k, port).slice()]));
  }

  /** Forget all samples. */
  reset() {
    this.#exports.init();
  }

  /** The stream as bytes, to be restored later. */
  snapshot() {
    return this.#bytes().slice();
  }

  /** Continue where a snapshot was taken. */
  restore(bytes) {
    if (bytes.length !== this.#bytes().length) throw new Error("The snapshot is of another model.");
    this.#bytes().set(bytes);
  }

  #bytes() {
    return new Uint8Array(this.#exports.memory.buffer, this.#exports.place(-1), this.#exports.size());
  }

  #array(place, port) {
    return new ARRAYS[port.dtype](this.#exports.memory.buffer, this.#exports.place(place), port.size);
  }
}
