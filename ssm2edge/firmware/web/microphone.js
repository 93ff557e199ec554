// Hands the samples of a microphone on, a few hundred at a time.

const PIECE = 512;

class Microphone extends AudioWorkletProcessor {
  #held = new Float32Array(PIECE);
  #filled = 0;

  process([channels]) {
    const count = channels?.[0]?.length ?? 0;
    for (let k = 0; k < count; ++k) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.#held[this.#filled++] = sum / channels.length;
      if (this.#filled === PIECE) {
        this.port.postMessage(this.#held.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
