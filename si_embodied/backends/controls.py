"""Control backends that hide the images from a model. A score that survives them does not depend on vision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend, BackendInfo
    from si_embodied.types import Completion, Prompt


class BlankImages:
    """Gives the wrapped backend black images of the same sizes."""

    def __init__(self, backend: Backend) -> None:
        """Wrap `backend`."""
        self._backend = backend

    @property
    def info(self) -> BackendInfo:
        """The wrapped backend's info, with " (blank images)" added to the model's name."""
        info = self._backend.info
        return replace(info, model=f"{info.model} (blank images)")

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete the prompt with black images; raises what the wrapped backend raises."""
        content = tuple(part if isinstance(part, str) else np.zeros_like(part) for part in prompt.content)
        return self._backend.generate(replace(prompt, content=content), deadline_s=deadline_s)

    def cancel(self) -> None:
        """Abort the wrapped backend's completion."""
        self._backend.cancel()

    def close(self) -> None:
        """Close the wrapped backend."""
        self._backend.close()
