"""What a linear (or linear-quadratic-output) time-invariant block is, and everything that can be computed from it alone."""
