// Runs the samples of a file through the front end and the stream.
import { readFileSync, writeFileSync } from "node:fs";
import { LogMel, Stream, description } from "./index.js";

const PIECE = 320;
const samples = new Float32Array(Uint8Array.from(readFileSync("samples.bin")).buffer);
const logMel = new LogMel(description.frontEnd);
const stream = await Stream.open();
stream.unbind();
const found = [];
for (let start = 0; start < samples.length; start += PIECE) {
  for (const frame of logMel.push(samples.subarray(start, start + PIECE))) {
    const answers = stream.push(frame);
    for (const { name } of stream.outputs) if (answers[name]) found.push(Buffer.from(answers[name].buffer));
  }
}
writeFileSync("outputs.bin", Buffer.concat(found));
