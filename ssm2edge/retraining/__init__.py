"""Training with labels that goes on from a reduced model, and regularisers that leave less to reduce."""

from __future__ import annotations

from ssm2edge.retraining.finetuning import Finetuned, Training, finetune
from ssm2edge.retraining.hankel_nuclear_norm import hankel_nuclear_norm
from ssm2edge.retraining.losses import NamedLoss, named_loss
from ssm2edge.retraining.modal_l1 import modal_l1

__all__ = ["Finetuned", "NamedLoss", "Training", "finetune", "hankel_nuclear_norm", "modal_l1", "named_loss"]
