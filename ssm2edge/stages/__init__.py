"""The steps of a build that have more to say than one line of the pipeline: each joins rooms that do not know each other."""
