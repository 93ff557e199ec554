// The step as WebAssembly: one block in, one block out, with all memory of the stream in the module.
import { EdgeError } from "./errors.js";
import { readBytes } from "./files.js";
import { makeArray } from "./ports.js";

const compiled = new Map();

function compile(place) {
  const key = String(place);
  if (!compiled.has(key)) {
    const module = readBytes(place).then((bytes) => WebAssembly.compile(bytes));
    module.catch(() => compiled.delete(key)); // a later call may find the file
    compiled.set(key, module);
  }
  return compiled.get(key);
}

/** A step of a streaming model; it answers at once. */
export class WasmEngine {
  /** Compile the module, once, and make an instance of it. */
  static async open(description, place = description.files.wasm) {
    if (place === null || description.stream === null) {
      throw new EdgeError(`${description.name} does not stream, so it has no WebAssembly: give onnxruntime-web.`);
    }
    return new WasmEngine(description.stream, await compile(place));
  }

  constructor(signature, module) {
    const { exports } = new WebAssembly.Instance(module, {});
    const array = (port, place) => makeArray(port.dtype, exports.memory.buffer, exports.place(place), product(port.shape));
    this.kind = "wasm";
    this.module = module;
    this.inputs = signature.inputs.map(array);
    this.outputs = signature.outputs.map((port, k) => array(port, signature.inputs.length + k));
    this.states = [new Uint8Array(exports.memory.buffer, exports.place(-1), exports.size())];
    this.checked = [...this.outputs, new Float32Array(exports.memory.buffer, exports.place(-1), signature.floats ?? 0)];
    this.step = exports.step;
    this.reset = exports.init;
    this.reset();
  }

  /** Return an engine with the same constants and states of its own. */
  async another(signature) {
    return new WasmEngine(signature, this.module);
  }

  /** Nothing is held that the garbage collector does not find. */
  async release() {}
}

const product = (sizes) => sizes.reduce((all, size) => all * size, 1);
