"""Tables of artifacts, layers, latencies and gates, for terminals and notebooks."""
