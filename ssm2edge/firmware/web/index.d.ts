export type Dtype = "float32" | "float64" | "int64" | "int32" | "bool" | "uint8";
export type Values = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;
/** Numbers in a row, in the order of the port's shape; they become the port's type. */
export type Samples = Values | readonly number[] | readonly bigint[];
/** Samples of sound from -1 to 1. */
export type Sound = Float32Array | Float64Array | readonly number[];
/** One array of the only input, or one by the name of each input. */
export type Given = Samples | Readonly<Record<string, Samples>>;
export type Answers = Record<string, Values>;

/** An input or an output. */
export interface Port {
  name: string;
  /** Sizes without the axis of the batch; null where any will do. */
  shape: (number | null)[];
  dtype: Dtype;
  /** Axis of `shape` along which time runs; null for an input given once, or an answer so far. */
  timeAxis: number | null;
  /** Samples a second; null where the build was not given any. */
  rate: number | null;
}

export interface FrontEnd {
  sampleRate: number;
  window: number;
  hop: number;
  mels: number;
  floor: number;
  /** Frames of a clip. */
  span: number;
}

export interface Description {
  name: string;
  /** Of ssm2edge. */
  version: string;
  sha256: string;
  metric: string | null;
  classes: string[];
  frontEnd: FrontEnd | null;
  /** Null for a model that does not stream. */
  stream: {
    block: number;
    frame: number;
    length: number | null;
    longest: number | null;
    inputs: Port[];
    outputs: Port[];
  } | null;
  offline: {
    multiple: number;
    shortest: number;
    length: number | null;
    longest: number | null;
    inputs: Port[];
    outputs: Port[];
  };
  files: { wasm: string | null; stream: string | null; ports: string | null; offline: string };
}

export const description: Description;
/** Names of the classes; empty where the model has none. */
export const classes: string[];

/** The module `onnxruntime-web`, `onnxruntime-node` or another one of this interface. */
export interface Onnxruntime {
  InferenceSession: { create(bytes: Uint8Array, settings?: any): Promise<any> };
  Tensor: new (type: any, values: any, shape: readonly number[]) => any;
}
export interface WasmOptions {
  onnxruntime?: undefined;
  /** Place of the module of WebAssembly, if it is not beside this one. */
  wasm?: string | URL;
}
export interface OnnxOptions {
  onnxruntime: Onnxruntime;
  /** Settings of the session. */
  settings?: unknown;
}

interface StreamBase {
  readonly block: number;
  readonly frame: number;
  readonly pending: number;
  readonly inputs: Port[];
  readonly outputs: Port[];
  readonly length: number | null;
  readonly longest: number | null;
  readonly sha256: string;
  readonly engine: "wasm" | "onnxruntime";
  /** Forget all samples. */
  reset(): void;
  /** Return states, pending samples and running answers as bytes. */
  snapshot(): Uint8Array;
  /** Continue where a snapshot was taken. */
  restore(bytes: Uint8Array): void;
  /** Take sequences of any length, also where the answers do not hold for it. */
  unbind(): void;
  close(): Promise<void>;
}

/** A stream in WebAssembly; it answers at once. */
export class Stream implements StreamBase {
  private constructor();
  static open(options?: WasmOptions): Promise<Stream>;
  static open(options: OnnxOptions): Promise<OnnxStream>;
  /** Take any number of samples, run the blocks that they fill, and return the outputs that are known now. */
  push(samples: Given): Answers;
  /** End the sequence: return the outputs of the pending samples, and start afresh. */
  flush(): Answers;
  /** Return a new stream that continues from here; this one stays as it is. */
  copy(): Promise<Stream>;
  readonly block: number;
  readonly frame: number;
  readonly pending: number;
  readonly inputs: Port[];
  readonly outputs: Port[];
  readonly length: number | null;
  readonly longest: number | null;
  readonly sha256: string;
  readonly engine: "wasm" | "onnxruntime";
  reset(): void;
  snapshot(): Uint8Array;
  restore(bytes: Uint8Array): void;
  unbind(): void;
  close(): Promise<void>;
}

/** A stream in onnxruntime; it answers later. */
export class OnnxStream implements StreamBase {
  private constructor();
  push(samples: Given): Promise<Answers>;
  flush(): Promise<Answers>;
  copy(): Promise<OnnxStream>;
  readonly block: number;
  readonly frame: number;
  readonly pending: number;
  readonly inputs: Port[];
  readonly outputs: Port[];
  readonly length: number | null;
  readonly longest: number | null;
  readonly sha256: string;
  readonly engine: "wasm" | "onnxruntime";
  reset(): void;
  snapshot(): Uint8Array;
  restore(bytes: Uint8Array): void;
  unbind(): void;
  close(): Promise<void>;
}

/** Whole sequences, one at a time: in WebAssembly, or by the graph of whole sequences in onnxruntime. */
export class Model {
  private constructor();
  static open(options?: WasmOptions | OnnxOptions): Promise<Model>;
  readonly inputs: Port[];
  readonly outputs: Port[];
  readonly multiple: number;
  readonly shortest: number;
  readonly length: number | null;
  readonly longest: number | null;
  readonly engine: "wasm" | "onnxruntime";
  run(samples: Given): Promise<Answers>;
  close(): Promise<void>;
}

/** One word: its class, probability, and the seconds in which it was louder than the background. */
export interface Heard {
  index: number;
  word: string;
  probability: number;
  start: number;
  end: number;
}

/** When a clip begins. */
export interface Gate {
  /** Smallest excess of the mean log energy over that of the background. */
  rise: number;
  /** Number of consecutive frames that exceed it. */
  frames: number;
  /** Frames before these that belong to the clip. */
  lead: number;
  /** Frames whose quietest stretch is the background. */
  memory: number;
}
export const gate: Readonly<Gate>;

/** One frame of a listener: its number, mean log energy, that of the background, and the scores of the clip so far. */
export interface Frame {
  number: number;
  loudness: number;
  background: number | null;
  scores: Float32Array | null;
}

/** Recognises words in one sound. */
export class Listener {
  private constructor();
  static open(options?: (WasmOptions | OnnxOptions) & { gate?: Partial<Gate>; onFrame?: (frame: Frame) => void }): Promise<Listener>;
  /** Take samples from -1 to 1 at the model's rate, and return the words that end within them; arrays of integers are refused. */
  push(samples: Sound): Promise<Heard[]>;
  /** End the sound: return the unfinished word, if any, and start afresh. */
  flush(): Promise<Heard[]>;
  close(): Promise<void>;
}

/** The front end: log-mel energies as the samples come in. */
export class LogMel {
  constructor(frontEnd: FrontEnd);
  push(samples: Sound): Float32Array[];
  reset(): void;
}

/** Brings samples from one rate to another as they come. */
export class Resampler {
  constructor(from: number, to: number);
  push(samples: Sound): Float32Array;
  flush(): Float32Array;
}

/** Return the channels of a wav file, from -1 to 1, and its rate. */
export function readWav(bytes: Uint8Array): { channels: Float32Array[]; rate: number };
/** Return the mean of channels. */
export function mixed(channels: Float32Array[]): Float32Array;
/** Return the numbers of an .npy file. */
export function readNpy(bytes: Uint8Array): { values: Values; shape: number[] };
/** Return the numbers of a table: one line a sample. */
export function readTable(text: string): { values: Float64Array; shape: number[] };
/** Return the probabilities of scores. */
export function softmax(scores: ArrayLike<number>): number[];

/** Root of the errors below; each message is one sentence. */
export class EdgeError extends Error {}
export class InputError extends EdgeError {}
export class SnapshotError extends EdgeError {}
