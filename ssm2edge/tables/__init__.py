"""What terminals and notebooks show of artifacts, layers, latencies and gates, as tables."""
