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

/** Arrays that are taken for a type beside its own. */
const TAKEN = {
  float32: [Float64Array],
  float64: [Float32Array],
  int64: [Int32Array],
  int32: [],
  bool: [],
  uint8: [],
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
function checkFinite(name, samples) {
  for (let place = 0; place < samples.length; ++place) {
    const sample = samples[place];
    if (Number.isFinite(sample)) continue;
    if (typeof sample === "number") {
      throw new InputError(`${name}[${place}] is ${sample}, which would spoil all answers after it: replace it first.`);
    }
    throw new InputError(
      isArray(sample)
        ? `${name}[${place}] is an array: flatten it, all numbers in a row.`
        : `${name}[${place}] is ${said(sample)}, no number: give numbers.`,
    );
  }
}

/** Refuse answers and states that are not finite. */
export function checkAnswers(arrays) {
  if (arrays.some((values) => (values instanceof Float32Array || values instanceof Float64Array) && !allFinite(values))) {
    throw new InputError(
      "The model has no finite answer to these samples, which are too large for it: scale them as they were for training, or leave them out.",
    );
  }
}

function allFinite(values) {
  let sum = 0;
  for (let place = 0; place < values.length; ++place) sum += values[place] * 0;
  return sum === 0;
}

/** Return samples of sound as floats, after the same checks. */
export function asSound(samples) {
  return converted({ name: "samples", dtype: "float32" }, samples);
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
  const one = isArray(samples);
  if (ports.length === 1 && (one || samples === null || typeof samples !== "object")) return [samples];
  const names = ports.map((port) => port.name);
  const given = samples === null || typeof samples !== "object" || one ? [] : Object.keys(samples);
  if (given.length !== names.length || names.some((name) => !given.includes(name))) {
    const listed = one ? "one array" : given.join(", ") || "none";
    throw new InputError(`The inputs given are ${listed}, but the model takes ${names.join(", ")}.`);
  }
  return names.map((name) => samples[name]);
}

function converted(port, value) {
  const Kind = ARRAYS[port.dtype];
  if (!Array.isArray(value) && (!ArrayBuffer.isView(value) || value instanceof DataView)) {
    throw new InputError(`${port.name} is ${said(value)}, no array of numbers: give a ${Kind.name}.`);
  }
  if (value instanceof Kind) {
    if (port.dtype.startsWith("float")) checkFinite(port.name, value);
    return value;
  }
  if (!Array.isArray(value) && !TAKEN[port.dtype].some((Other) => value instanceof Other)) {
    throw new InputError(
      `${port.name} is ${article(value.constructor.name)}, but the model takes ${port.dtype}: scale it as for training and give a ${Kind.name}.`,
    );
  }
  return port.dtype.startsWith("float") ? asFloats(port, value, Kind) : asIntegers(port, value, Kind);
}

function asFloats(port, value, Kind) {
  checkFinite(port.name, value);
  const found = Kind.from(value);
  const place = found.findIndex((number) => !Number.isFinite(number));
  if (place >= 0) {
    throw new InputError(`${port.name}[${place}] is ${value[place]}, which ${port.dtype} cannot hold: scale the samples first.`);
  }
  return found;
}

function asIntegers(port, value, Kind) {
  const fits = (number) =>
    typeof number === "boolean" ? port.dtype === "bool" : typeof number === "bigint" || Number.isSafeInteger(number);
  const place = value.findIndex((number) => !fits(number));
  if (place >= 0) {
    throw new InputError(`${port.name}[${place}] is ${said(value[place])}, no number of the type ${port.dtype}: give a ${Kind.name}.`);
  }
  return Kind === BigInt64Array ? Kind.from(Array.from(value, BigInt)) : Kind.from(value, Number);
}

const isArray = (value) => Array.isArray(value) || ArrayBuffer.isView(value);

const article = (name) => `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;

/** Return a value in words. */
function said(value) {
  if (typeof value === "string") return `the string ${JSON.stringify(value.length > 20 ? `${value.slice(0, 20)}...` : value)}`;
  if (typeof value === "bigint") return `the BigInt ${value}`;
  if (isArray(value)) return "an array";
  if (value !== null && typeof value === "object") return "an object";
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value);
}
