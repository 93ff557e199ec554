// Inputs and outputs: arrays in a row, in the order of their shape, without the axis of the batch.
import { InputError } from "./errors.js";

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
  uint8: Uint8Array,
};

/** Return an array of a port's type. */
export function makeArray(dtype, ...given) {
  return new ARRAYS[dtype](...given);
}

const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

/** Return how an array of a port lies: rows before the axis of time, and numbers behind it. */
export function layout(port) {
  const axis = port.timeAxis;
  if (axis === null) return { rows: 1, width: product(port.shape) };
  return { rows: product(port.shape.slice(0, axis)), width: product(port.shape.slice(axis + 1)) };
}

/** Return the shape in words. */
export function describe(port) {
  return `[${port.shape.map((size, axis) => (axis === port.timeAxis ? "time" : (size ?? "any"))).join(", ")}]`;
}

/** Return the inputs in the order of the ports, and the number of samples along time, after a check of names and sizes. */
export function gather(ports, samples) {
  const values = named(ports, samples).map((value, place) => converted(ports[place], value));
  let length = null;
  ports.forEach((port, place) => {
    const { rows, width } = layout(port);
    const count = values[place].length / (rows * width);
    if (port.timeAxis === null ? count !== 1 : !Number.isInteger(count)) {
      throw new InputError(`${port.name} has ${values[place].length} numbers, but the model takes ${describe(port)}.`);
    }
    if (port.timeAxis === null) return;
    if (length !== null && count !== length) {
      throw new InputError("The inputs have different lengths along time: cut them to the same number of samples.");
    }
    length = count;
  });
  return { values, length: length ?? 0 };
}

/** Refuse what is no finite number: a state keeps it for good. */
export function checkFinite(name, samples) {
  for (let place = 0; place < samples.length; ++place) {
    const sample = samples[place];
    if (!Number.isFinite(sample) && typeof sample !== "bigint" && typeof sample !== "boolean") {
      throw new InputError(`${name}[${place}] is ${sample}, which would spoil all answers after it: replace it first.`);
    }
  }
}

/** Copy samples along time: from one array of a port, of some samples in all, into another. */
export function copySamples(port, source, total, start, target, capacity, place, count) {
  const { rows, width } = layout(port);
  for (let row = 0; row < rows; ++row) {
    const first = (row * total + start) * width;
    target.set(source.subarray(first, first + count * width), (row * capacity + place) * width);
  }
}

function named(ports, samples) {
  const isArray = Array.isArray(samples) || ArrayBuffer.isView(samples);
  if (isArray && ports.length === 1) return [samples];
  const names = ports.map((port) => port.name);
  const given = samples === null || typeof samples !== "object" || isArray ? [] : Object.keys(samples);
  if (given.length !== names.length || names.some((name) => !given.includes(name))) {
    const said = isArray ? "one array" : given.join(", ") || "none";
    throw new InputError(`The inputs given are ${said}, but the model takes ${names.join(", ")}.`);
  }
  return names.map((name) => samples[name]);
}

function converted(port, value) {
  const Kind = ARRAYS[port.dtype];
  if (!Array.isArray(value) && (!ArrayBuffer.isView(value) || value instanceof DataView)) {
    throw new InputError(`${port.name} is no array of numbers: give a ${Kind.name}.`);
  }
  checkFinite(port.name, value);
  if (value instanceof Kind) return value;
  try {
    return Kind === BigInt64Array ? Kind.from(Array.from(value, BigInt)) : Kind.from(value, Number);
  } catch (fault) {
    throw new InputError(`${port.name} holds what is no number of the type ${port.dtype}: give a ${Kind.name}.`, { cause: fault });
  }
}
