// Bytes of files beside this module or elsewhere, in browsers and in Node.
import { EdgeError } from "./errors.js";

/** Return the bytes of a file; a name without a scheme is one beside this module. */
export async function readBytes(name) {
  const url = new URL(name, import.meta.url);
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url).catch((fault) => {
      throw new EdgeError(`${url.pathname} cannot be read (${fault.code}).`, { cause: fault });
    });
  }
  const response = await fetch(url);
  if (!response.ok) throw new EdgeError(`${url} cannot be read (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Return the value in a file of JSON. */
export async function readJson(name) {
  return JSON.parse(new TextDecoder().decode(await readBytes(name)));
}
