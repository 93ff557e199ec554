"""Rows of the latency table; ``scripts/benchmark_latency.py`` runs them."""
