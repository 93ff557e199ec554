// Runs a graph in onnxruntime-node or onnxruntime-web for try_runtimes.py: node run_blocks.mjs FOLDER_OF_MODULES PACKAGE GRAPH.
// A line of input is an object of inputs, each [shape, float32 as base64]; a line of output has the outputs, as base64.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , modules, name, file] = process.argv;
const ort = createRequire(`${modules}/`)(name);
const session = await ort.InferenceSession.create(readFileSync(file));
for await (const line of createInterface({ input: process.stdin })) {
  const feeds = {};
  for (const [input, [shape, text]] of Object.entries(JSON.parse(line))) {
    const bytes = new Uint8Array(Buffer.from(text, "base64"));
    feeds[input] = new ort.Tensor("float32", new Float32Array(bytes.buffer), shape);
  }
  const found = await session.run(feeds);
  const texts = session.outputNames.map((key) => [key, Buffer.from(new Uint8Array(found[key].data.slice().buffer)).toString("base64")]);
  console.log(JSON.stringify(Object.fromEntries(texts)));
}
