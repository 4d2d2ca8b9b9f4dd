"""Models: families, checkpoints, constrained decoding.

torch, transformers and llguidance are imported by the leaves that are about them, never by this package itself.
"""

from __future__ import annotations

from si_embodied.models.checkpoints import SUPPORTED, CheckpointFiles, inspect_checkpoint

__all__ = ["SUPPORTED", "CheckpointFiles", "inspect_checkpoint"]
