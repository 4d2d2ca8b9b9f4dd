"""Model families, checkpoint loading, and constrained decoding.

Importing this package does not import torch, transformers or llguidance; the modules that need them do.
"""

from __future__ import annotations

from si_embodied.models.checkpoints import SUPPORTED, CheckpointFiles, inspect_checkpoint

__all__ = ["SUPPORTED", "CheckpointFiles", "inspect_checkpoint"]
