// Runs the sequences of a file through the module: before each, the number of its blocks; then the inputs of every block.
import { readFileSync, writeFileSync } from "node:fs";
import { Stream } from "./index.js";

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, bool: Uint8Array };
const given = Uint8Array.from(readFileSync("inputs.bin")).buffer;
const found = [];
const stream = await Stream.open();
stream.unbind(); // sequences are joined to longer ones
const count = (port) => port.shape.reduce((all, size) => all * size, 1);
let place = 0;
const TIMED = 200; // steps: short enough to lie between two turns of other programs
let steps = 0;
let spent = 0;
let best = Infinity;
while (place < given.byteLength) {
  const blocks = new Int32Array(given.slice(place, place + 4))[0];
  place += 4;
  stream.reset();
  for (let block = 0; block < blocks; ++block) {
    const samples = {};
    for (const port of stream.inputs) {
      const bytes = count(port) * ARRAYS[port.dtype].BYTES_PER_ELEMENT;
      samples[port.name] = new ARRAYS[port.dtype](given.slice(place, place + bytes));
      place += bytes;
    }
    const start = performance.now();
    const answers = stream.push(samples);
    spent += performance.now() - start;
    if (++steps === TIMED) {
      best = Math.min(best, spent / steps);
      steps = spent = 0;
    }
    for (const { name } of stream.outputs) found.push(Buffer.from(answers[name].buffer));
  }
}
writeFileSync("outputs.bin", Buffer.concat(found));
if (best === Infinity) best = spent / steps;
console.log(`seconds ${(best / 1000).toFixed(9)}`);
