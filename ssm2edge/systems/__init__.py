"""Linear time-invariant systems, with or without quadratic outputs, and the mathematics that needs nothing else."""
