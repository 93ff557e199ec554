// Errors of this module: each message is one sentence for people.

/** Root of the errors below. */
export class EdgeError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An array has the wrong name, type or size, or a call does not fit the state of the stream. */
export class InputError extends EdgeError {}

/** The bytes are no snapshot, are damaged, or were taken from another model or engine. */
export class SnapshotError extends EdgeError {}
