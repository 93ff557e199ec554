// Compares answers in Node with those that onnxruntime gave when this folder was made: `npm test`.
import { readJson } from "./files.js";
import { Model, Stream, description } from "./index.js";

const LIMIT = 1e-4; // relative to the largest answer

/** Return the largest difference of answers from those expected, relative to the largest of each output. */
function difference(found, expected) {
  return Math.max(
    ...Object.entries(expected).map(([name, values]) => {
      const scale = Math.max(...values.map(Math.abs), Number.MIN_VALUE);
      return Math.max(...values.map((value, k) => Math.abs(Number(found[name][k]) - value))) / scale;
    }),
  );
}

const example = await readJson("./example.json");
if (!example || !description.stream) {
  console.log(`${description.name}: there is nothing to compare without onnxruntime.`);
} else {
  const [stream, model] = [await Stream.open(), await Model.open()];
  const errors = [stream.push(example.inputs), await model.run(example.inputs)].map((found) => difference(found, example.outputs));
  console.log(`${description.name}: largest difference ${Math.max(...errors).toExponential(1)}`);
  process.exitCode = errors.every((error) => error <= LIMIT) ? 0 : 1;
}
