// Sound: from the microphone as it comes, or from a file; loudness, scores and words.
import { Board } from "./board.js";
import { drawLines, drawRoll, setLabels } from "./charts.js";
import { EdgeError, Listener, Resampler, description, gate, mixed, readWav, softmax } from "./index.js";
import { attempt, say } from "./status.js";

const SHOWN = 6; // seconds of a microphone
const KEPT = 60;
const DECIBEL = 10 / Math.LN10; // of a natural logarithm
const PIECE = 0.02;
const at = (id) => document.getElementById(id);

/** Set up the page for a model with a front end. */
export async function listenToSound(options) {
  const { frontEnd, classes, stream } = description;
  const second = frontEnd.sampleRate / frontEnd.hop; // frames
  const [shown, kept] = [SHOWN, KEPT].map((seconds) => Math.round(seconds * second));
  const names = Array.from({ length: stream.outputs[0].shape.at(-1) }, (_, k) => classes[k] ?? String(k));
  const unit = { size: 1 / second, name: " s" };
  const board = new Board(at("figures"));
  const seen = { loudness: [], limit: [], columns: [], spans: [] };
  let live = false;
  let turn = 0; // of what is heard: a recording or the microphone

  const listener = await Listener.open({ ...options, onFrame });
  setLabels(names);
  board.add("Loudness, dB", "dashes: what begins a word", (canvas, view) => {
    drawLines(canvas, { ...view, series: [seen.loudness], limit: seen.limit, spans: seen.spans, unit });
  });
  board.add("Scores", "of the word so far; darker is more probable", (canvas, view) => {
    drawRoll(canvas, { ...view, names, columns: seen.columns, unit });
  });
  board.show(0, shown);
  say(classes.length ? `Say one of: ${classes.join(", ")}.` : "Make a sound.");
  at("choose-text").textContent = "Choose a recording";
  at("file").accept = "audio/*,.wav";
  at("example").hidden = true;

  function onFrame({ number, loudness, background, scores }) {
    seen.loudness[number] = DECIBEL * loudness;
    seen.limit[number] = background === null ? NaN : DECIBEL * (background + gate.rise);
    seen.columns[number] = scores && softmax(scores);
    if (live && number > kept) seen.columns[number - kept] = null;
    if (scores && !performance.getEntriesByName("first-answer").length) performance.mark("first-answer");
  }

  function clear() {
    Object.assign(seen, { loudness: [], limit: [], columns: [], spans: [] });
    board.cursor = null;
    at("words").replaceChildren();
    at("heard").hidden = true;
  }

  function showWords(words) {
    for (const { word, probability, start, end } of words) {
      const [text, note, item] = ["strong", "small", "li"].map((kind) => document.createElement(kind));
      text.textContent = word;
      note.textContent = `${start.toFixed(2)} s to ${end.toFixed(2)} s, ${Math.round(probability * 100)} %`;
      item.append(text, note);
      if (live) at("words").prepend(item);
      else at("words").append(item);
      at("heard").hidden = false;
      seen.spans.push({ start: start * second, end: end * second, text: word });
    }
    if (live) while (at("words").children.length > 12) at("words").lastChild.remove();
  }

  async function readFile(file) {
    await microphone.stop();
    const own = ++turn;
    await listener.flush();
    clear();
    at("sound").src = URL.createObjectURL(file);
    at("sound").hidden = false;
    const began = performance.now();
    const samples = await samplesOf(file, frontEnd.sampleRate);
    if (own !== turn) return;
    board.show(0, Math.max(1, Math.ceil((samples.length / frontEnd.sampleRate) * second)));
    const piece = Math.round(PIECE * frontEnd.sampleRate);
    let drawn = performance.now();
    for (let start = 0; start < samples.length; start += piece) {
      const words = await listener.push(samples.subarray(start, start + piece));
      if (own !== turn) return;
      showWords(words);
      if (performance.now() - drawn > 40) {
        board.redraw();
        await new Promise(requestAnimationFrame);
        drawn = performance.now();
      }
    }
    showWords(await listener.flush());
    board.redraw();
    const count = at("words").children.length;
    const seconds = (samples.length / frontEnd.sampleRate).toFixed(2);
    say(`${count} ${count === 1 ? "word" : "words"} in ${seconds} s of sound, heard in ${Math.round(performance.now() - began)} ms.`);
  }

  const microphone = new Microphone(frontEnd.sampleRate, {
    async begin() {
      turn += 1;
      await listener.flush();
      clear();
      at("sound").hidden = true;
      at("sound").pause();
      live = true;
      at("microphone").textContent = "Stop the microphone";
      at("microphone").classList.add("on");
      say(classes.length ? `Listening. Say one of: ${classes.join(", ")}.` : "Listening.");
    },
    async hear(samples) {
      showWords(await listener.push(samples));
      const count = seen.loudness.length;
      board.show(Math.max(0, count - shown), Math.max(count, shown));
    },
    async end() {
      showWords(await listener.flush());
      live = false;
      at("microphone").textContent = "Use the microphone";
      at("microphone").classList.remove("on");
      say("The microphone is off.");
      board.redraw();
    },
  });

  at("microphone").addEventListener("click", () => attempt(() => (microphone.isOn ? microphone.stop() : microphone.start())));
  at("file").addEventListener("change", () => {
    const [file] = at("file").files;
    at("file").value = ""; // the same file may be chosen again
    if (file) attempt(() => readFile(file));
  });
  at("sound").addEventListener("play", function follow() {
    board.cursor = Math.floor(at("sound").currentTime * second);
    board.redraw();
    if (!at("sound").paused) requestAnimationFrame(follow);
  });
  at("sound").addEventListener("seeked", () => {
    board.cursor = Math.floor(at("sound").currentTime * second);
    board.redraw();
  });
}

/** A microphone at the rate of a model. */
class Microphone {
  #rate;
  #on;
  #open = null;
  #opening = false;
  #last = Promise.resolve();

  constructor(rate, on) {
    this.#rate = rate;
    this.#on = on;
  }

  get isOn() {
    return this.#open !== null;
  }

  async start() {
    if (this.#opening) return;
    this.#opening = true;
    try {
      await this.#begin();
    } catch (fault) {
      await this.stop();
      throw fault;
    } finally {
      this.#opening = false;
    }
  }

  async #begin() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new EdgeError("Browsers give the microphone only to pages on https or localhost: choose a recording.");
    }
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const sound = await navigator.mediaDevices.getUserMedia({ audio }).catch((fault) => {
      throw new EdgeError(refusal(fault.name), { cause: fault });
    });
    const context = new AudioContext();
    this.#open = { sound, context };
    await context.audioWorklet.addModule(new URL("./microphone.js", import.meta.url));
    await this.#on.begin();
    const resampler = new Resampler(context.sampleRate, this.#rate);
    const node = new AudioWorkletNode(context, "microphone");
    node.port.onmessage = ({ data }) => this.#then(() => this.#on.hear(resampler.push(data)));
    context.createMediaStreamSource(sound).connect(node).connect(context.destination); // the node itself is silent
    await context.resume();
    sound.getAudioTracks()[0].addEventListener("ended", () => attempt(() => this.stop()));
  }

  async stop() {
    const open = this.#open;
    if (open === null) return;
    this.#open = null;
    open.sound.getTracks().forEach((track) => track.stop());
    await open.context.close();
    await this.#then(() => this.#on.end());
  }

  #then(work) {
    this.#last = this.#last.then(() => attempt(work));
    return this.#last;
  }
}

function refusal(name) {
  if (name === "NotAllowedError") return "The microphone was refused: allow it for this page in the browser, or choose a recording.";
  if (name === "NotFoundError") return "There is no microphone here: choose a recording.";
  return `The microphone cannot be read (${name}): choose a recording.`;
}

/** Return the samples of a recording at a rate, from -1 to 1. */
async function samplesOf(file, rate) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (String.fromCharCode(...bytes.subarray(0, 4)) === "RIFF") {
    const wav = readWav(bytes);
    const resampler = new Resampler(wav.rate, rate);
    const parts = [resampler.push(mixed(wav.channels)), resampler.flush()];
    const samples = new Float32Array(parts[0].length + parts[1].length);
    samples.set(parts[0]);
    samples.set(parts[1], parts[0].length);
    return samples;
  }
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(bytes.buffer).catch((fault) => {
    throw new EdgeError(`${file.name} is no recording that this browser reads: choose a wav file.`, { cause: fault });
  });
  return mixed(Array.from({ length: sound.numberOfChannels }, (_, k) => sound.getChannelData(k)));
}
