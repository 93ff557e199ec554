// Runs the sequences of a file through the module: before each, the number of its blocks; then the inputs of every block.
import { readFileSync, writeFileSync } from "node:fs";
import { Stream, inputs, outputs } from "./@name@.mjs";

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, bool: Uint8Array };
const { buffer, byteOffset, length } = readFileSync("inputs.bin");
const given = buffer.slice(byteOffset, byteOffset + length);
const found = [];
const stream = await Stream.open();
let place = 0;
let steps = 0;
let spent = 0;
while (place < given.byteLength) {
  const blocks = new Int32Array(given.slice(place, place + 4))[0];
  place += 4;
  stream.reset();
  for (let block = 0; block < blocks; ++block) {
    const values = inputs.map(({ size, dtype }) => {
      const bytes = size * ARRAYS[dtype].BYTES_PER_ELEMENT;
      place += bytes;
      return new ARRAYS[dtype](given.slice(place - bytes, place));
    });
    const start = performance.now();
    const answers = stream.push(...values);
    spent += performance.now() - start;
    ++steps;
    for (const { name } of outputs) found.push(Buffer.from(answers[name].buffer));
  }
}
writeFileSync("outputs.bin", Buffer.concat(found));
console.log(`seconds ${(spent / steps / 1000).toFixed(9)}`);
