// Words in sound as it comes in: a front end, a gate that waits for sound above the background, and a stream.
//
// A model trained on clips of one length answers about one clip: so many frames, from a little before the sound begins.  The gate finds
// the start of a clip, the stream starts afresh there, and its running answer at the end of the clip (or of the sound) is the word.
import description from "./description.js";
import { InputError } from "./errors.js";
import { LogMel } from "./log_mel.js";
import { Stream } from "./stream.js";

/** When a clip begins: as `ssm2edge.audio.Gate`. */
export const gate = Object.freeze({
  /** Smallest excess of the mean log energy over that of the background. */
  rise: 0.7,
  /** Number of consecutive frames that exceed it. */
  frames: 4,
  /** Frames before these that belong to the clip. */
  lead: 12,
  /** Frames whose quietest stretch is the background. */
  memory: 150,
});

/** Return the probabilities of scores. */
export function softmax(scores) {
  const top = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  const powers = Array.from(scores, (score) => Math.exp(score - top));
  const sum = powers.reduce((all, power) => all + power, 0);
  return powers.map((power) => power / sum);
}

/** Recognises words in one sound. */
export class Listener {
  #stream;
  #logMel;
  #gate;
  #onFrame;
  #past = [];
  #loudness = [];
  #count = 0;
  #fed = 0;
  #loud = 0;
  #start = 0;
  #end = 0;
  #scores = null;
  #listening = false;
  #last = Promise.resolve();

  /**
   * Open a stream, as `Stream.open` does, and listen with it.  `onFrame` is called after every frame with its number, mean
   * log energy, background (null at first), and the scores of the clip so far (null outside of clips).
   */
  static async open({ gate: chosen, onFrame, ...options } = {}) {
    const signature = description.stream;
    const { frontEnd } = description;
    if (!frontEnd || !signature) throw new InputError(`${description.name} has no front end for sound: push samples into a Stream.`);
    const fits = signature.inputs.length === 1 && signature.inputs[0].shape.at(-1) === frontEnd.mels;
    if (!fits || signature.outputs.length !== 1 || signature.outputs[0].timeAxis !== null) {
      throw new InputError(`The stream does not turn frames of ${frontEnd.mels} energies into one answer: it cannot listen.`);
    }
    return new Listener(await Stream.open(options), { ...gate, ...chosen }, onFrame);
  }

  constructor(stream, chosen, onFrame) {
    this.#stream = stream;
    this.#gate = chosen;
    this.#onFrame = onFrame ?? (() => {});
    this.#logMel = new LogMel(description.frontEnd);
  }

  /** Take samples from -1 to 1 at the model's rate, floats; return the words that end within them. */
  push(samples) {
    return this.#queue(async () => {
      const heard = [];
      for (const frame of this.#logMel.push(samples)) {
        const answer = await this.#frame(frame);
        if (answer) heard.push(answer);
      }
      return heard;
    });
  }

  /** End the sound: return the unfinished word, if any, and start afresh. */
  flush() {
    return this.#queue(async () => {
      const answer = this.#listening ? this.#answer() : null;
      this.#logMel.reset();
      this.#past = [];
      this.#loudness = [];
      this.#count = this.#loud = 0;
      return answer ? [answer] : [];
    });
  }

  /** Release what the listener holds. */
  async close() {
    await this.#last;
    await this.#stream.close();
  }

  #queue(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  async #frame(frame) {
    const { memory, frames, lead } = this.#gate;
    const loudness = Math.fround(frame.reduce((sum, value) => sum + value, 0) / frame.length);
    this.#loudness = [...this.#loudness.slice(-(memory + frames)), loudness];
    this.#past = [...this.#past.slice(-(lead + frames - 1)), frame];
    this.#count += 1;
    const background = this.#background();
    const loud = background !== null && loudness > background + this.#gate.rise;
    this.#loud = loud ? this.#loud + 1 : 0;
    let answer = null;
    let scores = null;
    if (this.#listening) {
      await this.#feed([frame]);
      if (loud) this.#end = this.#count;
      scores = this.#scores;
      if (this.#fed >= description.frontEnd.span) answer = this.#answer();
    } else if (this.#loud === frames) {
      this.#listening = true;
      this.#fed = 0;
      this.#start = this.#count - frames;
      this.#end = this.#count;
      this.#stream.reset();
      await this.#feed(this.#past);
      scores = this.#scores;
    }
    this.#onFrame({ number: this.#count - 1, loudness, background, scores });
    return answer;
  }

  /** Return the mean log energy of the quietest stretch of what is remembered. */
  #background() {
    const { frames } = this.#gate;
    const held = this.#loudness;
    if (held.length < frames) return null;
    let quietest = Infinity;
    for (let start = 0; start + frames <= held.length; ++start) {
      let sum = 0;
      for (let k = start; k < start + frames; ++k) sum += held[k] / frames;
      quietest = Math.min(quietest, sum);
    }
    return quietest;
  }

  async #feed(frames) {
    const width = frames[0].length;
    const values = new Float32Array(frames.length * width);
    frames.forEach((frame, k) => values.set(frame, k * width));
    const answers = Object.values(await this.#stream.push(values));
    this.#fed += frames.length;
    this.#scores = answers[0] ?? this.#scores;
  }

  /** Stop listening and return the answer about the clip; null if no block was full yet. */
  #answer() {
    const scores = this.#scores;
    this.#listening = false;
    this.#loud = 0;
    this.#scores = null;
    if (!scores) return null;
    const index = scores.indexOf(scores.reduce((most, score) => Math.max(most, score)));
    const { hop, sampleRate } = description.frontEnd;
    return {
      index,
      word: description.classes[index] ?? String(index),
      probability: softmax(scores)[index],
      start: (this.#start * hop) / sampleRate,
      end: (this.#end * hop) / sampleRate,
    };
  }
}
