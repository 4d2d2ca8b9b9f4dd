"""The settings of `data generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError

LEAST_PIXELS = 64
"""Along each side of a picture."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What to generate. The data are a function of this and of the versions in the manifest."""

    count: Annotated[int, Doc("how many questions")]
    seed: Annotated[int, Doc("of the data set")] = 0
    kinds: Annotated[tuple[str, ...], Doc("capabilities or question types; empty for all")] = ()
    image_size: Annotated[int, Doc("pixels along each side")] = 224
    held_out: Annotated[bool, Doc("use scenes that never appear in training data (seeds from 100000)")] = False

    def __post_init__(self) -> None:
        """Reject values that cannot be generated."""
        from si_embodied.data.questions import question_types

        if self.count < 1 or self.seed < 0 or not LEAST_PIXELS <= self.image_size <= 1024:
            raise ConfigError(
                "expected a count of at least 1, a seed of at least 0 and an image size from "
                f"{LEAST_PIXELS} to 1024, got: {self.count}, {self.seed} and {self.image_size}"
            )
        question_types(self.kinds)
