// A model made by ssm2edge, for browsers and Node.
import description from "./description.js";

export { description };
/** Names of the classes; empty where the model has none. */
export const { classes } = description;
export { EdgeError, InputError, SnapshotError } from "./errors.js";
export { Listener, gate, softmax } from "./listener.js";
export { LogMel } from "./log_mel.js";
export { Model } from "./model.js";
export { Resampler, mixed, readNpy, readTable, readWav } from "./recordings.js";
export { OnnxStream, Stream } from "./stream.js";
