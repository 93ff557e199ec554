// The page: a model at work on sound or on samples, in WebAssembly, or in onnxruntime-web where the address names it.
import { EdgeError, description } from "./index.js";
import { listenToSound } from "./page_sound.js";
import { showSamples } from "./page_samples.js";
import { attempt } from "./status.js";

const at = (id) => document.getElementById(id);

/** Return the options of `Stream.open` that the page's address asks for. */
async function engine() {
  const place = new URLSearchParams(location.search).get("onnxruntime");
  if (place === null) return {};
  const url = new URL(place, location.href);
  // An address must not make this page run scripts of others.
  if (url.origin !== location.origin) throw new EdgeError("onnxruntime-web must lie on this page's own server.");
  const module = await import(url.href).catch((fault) => {
    throw new EdgeError(`${url.pathname} is no module of onnxruntime-web.`, { cause: fault });
  });
  return { onnxruntime: module.InferenceSession ? module : module.default };
}

function introduce() {
  const { name, classes, frontEnd, stream, offline, version } = description;
  document.title = name;
  at("title").textContent = name;
  const width = (stream ?? offline).inputs[0].shape.at(-1) ?? 1;
  const takes = frontEnd
    ? `sound at ${frontEnd.sampleRate.toLocaleString("en")} samples a second`
    : `samples of ${width === 1 ? "one number" : `${width} numbers`} each`;
  at("lead").textContent = classes.length ? `Tells ${classes.length} classes apart in ${takes}.` : `Takes ${takes}.`;
  at("foot").textContent = `Made by ssm2edge ${version}. Nothing that you give leaves this page.`;
}

await attempt(async () => {
  introduce();
  const options = await engine();
  if (!options.onnxruntime && !description.stream) {
    throw new EdgeError(
      `${description.name} looks ahead in time, so it runs in onnxruntime-web alone: open this page with ` +
        "?onnxruntime= and the place of ort.wasm.bundle.min.mjs on your server.",
    );
  }
  await (description.frontEnd && description.stream ? listenToSound(options) : showSamples(options));
  at("controls").hidden = false;
});
