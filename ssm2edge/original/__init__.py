"""The user's own model: run on samples, timed, and run again beside an artifact."""
