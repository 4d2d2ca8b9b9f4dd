"""How a model behind somebody else's server is asked."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal, TypeAlias

from si_embodied.errors import ConfigError, UnknownNameError

Family: TypeAlias = Literal["internvl", "qwen2_5_vl", "qwen3_vl"]
AnswerFormat: TypeAlias = Literal["json_schema", "json_object", "guided_json", "none"]
ImageFormat: TypeAlias = Literal["png", "jpeg"]

FAMILIES: tuple[str, ...] = typing.get_args(Family)
ANSWER_FORMATS: tuple[str, ...] = typing.get_args(AnswerFormat)
IMAGE_FORMATS: tuple[str, ...] = typing.get_args(ImageFormat)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is asked."""

    family: Family = "qwen3_vl"  # decides how points are meant and images numbered
    answer_format: AnswerFormat = "json_schema"  # how the server is told the answer's schema; see docs/serving.md
    image_format: ImageFormat = "png"
    jpeg_quality: int = 90  # 1..95
    max_tokens: int = 512  # an answer longer than this is refused
    max_answer_bytes: int = 1 << 20
    connect_timeout_s: float = 3.0  # and for writing the request; the answer may take the whole deadline

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        known: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("model family", self.family, FAMILIES),
            ("answer_format", self.answer_format, ANSWER_FORMATS),
            ("image_format", self.image_format, IMAGE_FORMATS),
        )
        for kind, name, names in known:
            if name not in names:
                raise UnknownNameError(kind, name, names)
        for kind, number in (("max_tokens", self.max_tokens), ("max_answer_bytes", self.max_answer_bytes)):
            if number < 1:
                raise ConfigError(f"expected {kind} to be at least 1, got: {number}")
        if not 1 <= self.jpeg_quality <= 95:
            raise ConfigError(f"expected a jpeg_quality from 1 to 95, got: {self.jpeg_quality}")
        if not self.connect_timeout_s > 0:
            raise ConfigError(f"expected connect_timeout_s to be positive, got: {self.connect_timeout_s}")
