"""Training with labels that goes on from a reduced model."""

from __future__ import annotations

from ssm2edge.retraining.finetuning import Finetuned, Training, finetune
from ssm2edge.retraining.losses import NamedLoss, named_loss

__all__ = ["Finetuned", "NamedLoss", "Training", "finetune", "named_loss"]
