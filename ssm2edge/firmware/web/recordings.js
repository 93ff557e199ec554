// Samples of recordings: wav files, numpy arrays, tables of numbers, and other rates.
import { InputError } from "./errors.js";
import { asSound } from "./ports.js";

/** Return the channels of a wav file of whole numbers or floats, from -1 to 1, and its rate. */
export function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (place) => String.fromCharCode(...bytes.subarray(place, place + 4));
  if (bytes.length < 12 || text(0) !== "RIFF" || text(8) !== "WAVE") throw new InputError("This is no wav file.");
  let format = null;
  for (let place = 12; place + 8 <= bytes.length; ) {
    const kind = text(place);
    const size = view.getUint32(place + 4, true);
    const start = place + 8;
    if (kind === "fmt " && start + 16 <= bytes.length) {
      const tag = view.getUint16(start, true);
      const extended = tag === 0xfffe && start + 26 <= bytes.length;
      format = {
        tag: extended ? view.getUint16(start + 24, true) : tag,
        channels: view.getUint16(start + 2, true),
        rate: view.getUint32(start + 4, true),
        width: view.getUint16(start + 14, true) / 8,
      };
    }
    if (kind === "data") {
      const read = format && reader(view, format);
      if (!read || format.channels < 1) throw new InputError("This wav file holds no plain samples: convert it to 16 bits.");
      // Programs that write to a pipe cannot know the length, and state the largest one.
      const step = format.width * format.channels;
      const count = Math.floor(Math.min(size, bytes.length - start) / step);
      const channels = Array.from({ length: format.channels }, (_, channel) =>
        Float32Array.from({ length: count }, (_, k) => read(start + k * step + channel * format.width)),
      );
      return { channels, rate: format.rate };
    }
    place = start + size + (size % 2);
  }
  throw new InputError("This wav file ends in its header.");
}

function reader(view, { tag, width }) {
  if (tag === 3 && width === 4) return (place) => view.getFloat32(place, true);
  if (tag !== 1) return null;
  return {
    1: (place) => view.getUint8(place) / 2 ** 7 - 1,
    2: (place) => view.getInt16(place, true) / 2 ** 15,
    3: (place) => (view.getUint8(place) | (view.getInt16(place + 1, true) << 8)) / 2 ** 23,
    4: (place) => view.getInt32(place, true) / 2 ** 31,
  }[width];
}

/** Return the mean of channels. */
export function mixed(channels) {
  return channels[0].map((_, k) => channels.reduce((sum, channel) => sum + channel[k], 0) / channels.length);
}

/** Brings samples from one rate to another as they come, by a windowed sinc (Kaiser, beta 5, ten zero crossings on each side). */
export class Resampler {
  #up;
  #down;
  #half;
  #taps;
  #held = new Float32Array(0);
  #first = 0; // number of the first sample that is held
  #taken = 0;
  #made = 0;

  constructor(from, to) {
    const common = gcd(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const longest = Math.max(this.#up, this.#down);
    this.#half = from === to ? 0 : 10 * longest;
    const taps = Float64Array.from({ length: 2 * this.#half + 1 }, (_, k) => {
      const place = (k - this.#half) / longest;
      const sinc = place === 0 ? 1 : Math.sin(Math.PI * place) / (Math.PI * place);
      return sinc * bessel(5 * Math.sqrt(Math.max(0, 1 - (place / 10) ** 2)));
    });
    const sum = taps.reduce((all, tap) => all + tap, 0);
    this.#taps = taps.map((tap) => (tap * this.#up) / sum);
  }

  /** Take samples, floats, and return those of the new rate that are known now. */
  push(given) {
    const samples = asSound(given);
    this.#taken += samples.length;
    const joined = new Float32Array(this.#held.length + samples.length);
    joined.set(this.#held);
    joined.set(samples, this.#held.length);
    this.#held = joined;
    // The last sample that an answer needs stands half a filter behind it.
    return this.#make(Math.ceil((this.#taken * this.#up - this.#half) / this.#down));
  }

  /** End the signal: return the rest, with silence behind the last sample. */
  flush() {
    return this.#make(Math.ceil((this.#taken * this.#up) / this.#down));
  }

  #make(until) {
    const found = new Float32Array(Math.max(0, until - this.#made));
    found.forEach((_, k) => (found[k] = this.#at(this.#made + k)));
    this.#made += found.length;
    const first = Math.max(this.#first, Math.ceil((this.#made * this.#down - this.#half) / this.#up));
    this.#held = this.#held.slice(Math.min(this.#held.length, first - this.#first));
    this.#first = first;
    return found;
  }

  #at(number) {
    const centre = number * this.#down;
    const first = Math.max(this.#first, Math.ceil((centre - this.#half) / this.#up));
    const last = Math.min(this.#taken - 1, Math.floor((centre + this.#half) / this.#up));
    let sum = 0;
    for (let k = first; k <= last; ++k) sum += this.#held[k - this.#first] * this.#taps[centre - k * this.#up + this.#half];
    return sum;
  }
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/** The modified Bessel function of order zero. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-17 * sum; ++k) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** Return the numbers of an .npy file, and its shape. */
export function readNpy(bytes) {
  const head = String.fromCharCode(...bytes.subarray(1, 6));
  if (bytes[0] !== 0x93 || head !== "NUMPY") throw new InputError("This is no .npy file.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [start, size] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder().decode(bytes.subarray(start, start + size));
  const dtype = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const shape = (/'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((part) => part.trim()).map(Number);
  const kinds = { "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<i4": Int32Array, "|u1": Uint8Array };
  if (!kinds[dtype] || header.includes("'fortran_order': True")) {
    throw new InputError(`The array is of the type ${dtype}: save it as float32, in C order.`);
  }
  const values = new kinds[dtype](bytes.slice(start + size).buffer);
  return { values, shape };
}

/** Return the numbers of a table: one line a sample, separated by commas, semicolons, tabs or spaces; a first line may have titles. */
export function readTable(text) {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  const rows = lines.map((line) => line.split(/[\s,;]+/).map(Number));
  if (rows.length && rows[0].some(Number.isNaN)) rows.shift();
  const wrong = rows.findIndex((row) => row.some(Number.isNaN) || row.length !== rows[0].length);
  if (!rows.length || wrong >= 0) {
    throw new InputError(rows.length ? `Row ${wrong + 1} of the table is not like the others.` : "The table is empty.");
  }
  return { values: Float64Array.from(rows.flat()), shape: [rows.length, rows[0].length] };
}
