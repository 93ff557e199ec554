// The device graph in onnxruntime-web, onnxruntime-node or another module of the same interface, which the user brings.
import { EdgeError } from "./errors.js";
import { readBytes, readJson } from "./files.js";
import { makeArray } from "./ports.js";

const plain = (name) => name.replace(/[^A-Za-z0-9]/g, "_");
const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

/** Open a session of onnxruntime for a graph's bytes. */
export async function openSession(onnxruntime, name, settings) {
  const bytes = await readBytes(name);
  try {
    return await onnxruntime.InferenceSession.create(bytes, settings);
  } catch (fault) {
    throw new EdgeError(`onnxruntime cannot load ${name}: ${said(fault)}`, { cause: fault });
  }
}

/** Run a session; an error names the graph. */
export async function run(session, feeds, name) {
  try {
    return await session.run(feeds);
  } catch (fault) {
    throw new EdgeError(`onnxruntime could not run ${name}: ${said(fault)}`, { cause: fault });
  }
}

const said = (fault) => String(fault?.message ?? fault).replace(/\s+/g, " ").slice(0, 200);

/** A step of a streaming model; it answers later. */
export class OnnxEngine {
  static async open(description, onnxruntime, settings) {
    if (description.stream === null) throw new EdgeError(`${description.name} does not stream: open it as a Model.`);
    const [session, ports] = await Promise.all([
      openSession(onnxruntime, description.files.stream, settings),
      readJson(description.files.ports),
    ]);
    return new OnnxEngine(description, onnxruntime, session, ports, { open: 1 });
  }

  constructor(description, onnxruntime, session, ports, shared) {
    const { inputs, outputs } = description.stream;
    this.kind = "onnxruntime";
    this.inputs = inputs.map((port) => makeArray(port.dtype, product(port.shape)));
    this.outputs = outputs.map((port) => makeArray(port.dtype, product(port.shape)));
    this.states = ports.states.map((state) => makeArray(state.dtype, product(state.shape)));
    this.checked = [...this.outputs, ...this.states];
    this.parts = { description, onnxruntime, session, ports, shared };
    this.reset();
  }

  reset() {
    this.parts.ports.states.forEach(({ initial, dtype }, k) => this.states[k].fill(dtype === "int64" ? BigInt(initial) : initial));
  }

  async step() {
    const { description, onnxruntime, session, ports } = this.parts;
    const tensor = ({ dtype }, values, shape) => new onnxruntime.Tensor(dtype, values, shape);
    const feeds = {};
    description.stream.inputs.forEach((port, k) => {
      feeds[plain(port.name)] = tensor(port, this.inputs[k], [1, ...port.shape]);
    });
    ports.states.forEach((state, k) => (feeds[state.input] = tensor(state, this.states[k], state.shape)));
    const found = await run(session, feeds, description.files.stream);
    description.stream.outputs.forEach((port, k) => this.outputs[k].set(found[plain(port.name)].data));
    ports.states.forEach((state, k) => this.states[k].set(found[state.output].data));
  }

  /** Return an engine with the same session and states of its own. */
  async another() {
    const { description, onnxruntime, session, ports, shared } = this.parts;
    shared.open += 1;
    return new OnnxEngine(description, onnxruntime, session, ports, shared);
  }

  /** Release the session with the last stream that shares it. */
  async release() {
    const { session, shared } = this.parts;
    shared.open -= 1;
    if (shared.open === 0) await session.release?.();
  }
}
