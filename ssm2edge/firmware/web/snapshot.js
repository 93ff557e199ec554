// Snapshots: all that a stream holds as bytes, from which another page or process continues.
//
//   8 bytes   "SSM2WEB1"
//   4         length of the header, little-endian
//   .         header, JSON: model, engine, pending, answered, taken, sizes of the arrays in bytes
//   .         the arrays, one after the other
//   4         checksum of all before (FNV-1a)
import { SnapshotError } from "./errors.js";

const MAGIC = new TextEncoder().encode("SSM2WEB1");

const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

function checksum(bytes) {
  let sum = 0x811c9dc5;
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum >>> 0;
}

/** Return a header and arrays as bytes. */
export function toBytes(header, arrays) {
  const text = new TextEncoder().encode(JSON.stringify({ ...header, sizes: arrays.map((array) => array.byteLength) }));
  const size = arrays.reduce((all, array) => all + array.byteLength, MAGIC.length + 4 + text.length);
  const bytes = new Uint8Array(size + 4);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(MAGIC.length, text.length, true);
  bytes.set(text, MAGIC.length + 4);
  let place = MAGIC.length + 4 + text.length;
  for (const array of arrays) {
    bytes.set(bytesOf(array), place);
    place += array.byteLength;
  }
  view.setUint32(size, checksum(bytes.subarray(0, size)), true);
  return bytes;
}

/** Put the bytes of a snapshot into arrays of the same sizes, after a check of all of it, and return its header. */
export function fromBytes(bytes, wanted, arrays) {
  const start = MAGIC.length + 4;
  if (!(bytes instanceof Uint8Array) || bytes.length < start + 4 || MAGIC.some((byte, k) => bytes[k] !== byte)) {
    throw new SnapshotError("These bytes are no snapshot of a stream: give what Stream.snapshot returned.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 4;
  if (view.getUint32(end, true) !== checksum(bytes.subarray(0, end))) {
    throw new SnapshotError("The snapshot is damaged: its checksum does not fit; take it again.");
  }
  let place = start + view.getUint32(MAGIC.length, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(start, place)));
  if (header.model !== wanted.model) {
    throw new SnapshotError("The snapshot was taken from another model: restore it into the one it came from.");
  }
  if (header.engine !== wanted.engine || arrays.some((array, k) => header.sizes[k] !== array.byteLength)) {
    throw new SnapshotError(`The snapshot was taken in ${header.engine}, but the stream runs in ${wanted.engine}: take it again.`);
  }
  for (const array of arrays) {
    bytesOf(array).set(bytes.subarray(place, place + array.byteLength));
    place += array.byteLength;
  }
  return header;
}
