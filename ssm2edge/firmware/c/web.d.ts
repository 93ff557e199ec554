export interface Port {
  name: string;
  shape: number[];
  size: number;
  dtype: "float32" | "float64" | "int64" | "int32" | "bool";
  /** Axis along which time runs; null for an answer so far. */
  timeAxis: number | null;
}
export type Values = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;
export const block: number;
export const inputs: Port[];
export const outputs: Port[];
export const classes: string[];
export const sampleRate: number;
export class Stream {
  static open(url?: URL): Promise<Stream>;
  push(...samples: Values[]): Record<string, Values>;
  hear(samples: Float32Array): number;
  answers(): Record<string, Values>;
  reset(): void;
  snapshot(): Uint8Array;
  restore(bytes: Uint8Array): void;
}
