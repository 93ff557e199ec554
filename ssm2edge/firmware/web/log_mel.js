// Front end of models for sound: log-mel energies of overlapping windows.
//
// Frame k covers samples [hop k, hop k + window).  A periodic Hann window, scaled so that a full-scale sine has a spectral peak of
// one; power spectrum of the next power of two; triangles equally spaced on the mel scale 2595 log10(1 + f / 700) from 20 Hz to half
// the rate, each 1 at its centre; a floor; the natural logarithm.

import { asSound } from "./ports.js";

const LOWEST = 20; // Hz
const mel = (frequency) => 2595 * Math.log10(1 + frequency / 700);
const frequency = (value) => 700 * (10 ** (value / 2595) - 1);

/** Frames of a signal as its samples come in; `frontEnd` is that of the description. */
export class LogMel {
  #settings;
  #points;
  #taper;
  #filters;
  #turns;
  #pending = new Float32Array(0);
  #skipped = 0;

  constructor(frontEnd) {
    const { sampleRate, window, mels } = (this.#settings = frontEnd);
    const points = (this.#points = 2 ** Math.ceil(Math.log2(window)));
    const hann = Float64Array.from({ length: window }, (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * k) / window));
    const sum = hann.reduce((all, value) => all + value, 0);
    this.#taper = hann.map((value) => Math.fround((2 * value) / sum));
    const [low, high] = [mel(LOWEST), mel(sampleRate / 2)];
    const edges = Array.from({ length: mels + 2 }, (_, k) => frequency(low + ((high - low) * k) / (mels + 1)));
    this.#filters = Array.from({ length: mels }, (_, m) => {
      const [from, top, to] = edges.slice(m, m + 3);
      const weights = [];
      for (let bin = 0; bin <= points / 2; ++bin) {
        const at = (bin * sampleRate) / points;
        const weight = Math.min((at - from) / (top - from), (to - at) / (to - top));
        if (weight > 0) weights.push([bin, Math.fround(weight)]);
      }
      return weights;
    });
    this.#turns = Float64Array.from({ length: points }, (_, k) =>
      k % 2 ? Math.sin((Math.PI * (k - 1)) / points) : Math.cos((Math.PI * k) / points),
    );
  }

  /** Take samples from -1 to 1, floats, and return the frames that they complete, one array of energies each. */
  push(given) {
    const samples = asSound(given);
    const { window, hop } = this.#settings;
    const dropped = Math.min(this.#skipped, samples.length);
    this.#skipped -= dropped;
    const held = new Float32Array(this.#pending.length + samples.length - dropped);
    held.set(this.#pending);
    held.set(samples.subarray(dropped), this.#pending.length);
    const frames = [];
    let start = 0;
    for (; start + window <= held.length; start += hop) frames.push(this.#frame(held.subarray(start, start + window)));
    this.#skipped += Math.max(0, start - held.length);
    this.#pending = held.slice(Math.min(start, held.length));
    return frames;
  }

  /** Forget all samples. */
  reset() {
    this.#pending = new Float32Array(0);
    this.#skipped = 0;
  }

  #frame(samples) {
    const points = this.#points;
    const [re, im] = [new Float64Array(points), new Float64Array(points)];
    samples.forEach((value, k) => (re[k] = value * this.#taper[k]));
    transform(re, im, this.#turns);
    const { floor } = this.#settings;
    return Float32Array.from(this.#filters, (weights) => {
      let energy = 0;
      for (const [bin, weight] of weights) energy += weight * (re[bin] ** 2 + im[bin] ** 2);
      return Math.log(Math.max(energy, floor));
    });
  }
}

/** The Fourier transform of a power of two of points, in place. */
function transform(re, im, turns) {
  const points = re.length;
  for (let i = 1, j = 0; i < points; ++i) {
    let bit = points >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 1; size < points; size *= 2) {
    const stride = points / size;
    for (let k = 0; k < size; ++k) {
      const [c, s] = [turns[k * stride], turns[k * stride + 1]];
      for (let i = k; i < points; i += 2 * size) {
        const j = i + size;
        const [a, b] = [re[j] * c + im[j] * s, im[j] * c - re[j] * s];
        re[j] = re[i] - a;
        im[j] = im[i] - b;
        re[i] += a;
        im[i] += b;
      }
    }
  }
}
