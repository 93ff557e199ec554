"""``python -m ssm2edge.cli``."""

from __future__ import annotations

from ssm2edge.cli import main

main()
