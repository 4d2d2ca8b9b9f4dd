"""From lmms-eval's chat messages to a prompt, with the images, with black ones, or without any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from si_embodied.errors import ConfigError, extra
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

Sight: TypeAlias = Literal["images", "blank", "none"]
"""What a model sees: the images, black ones of the same sizes, or only the text."""
SIGHTS: tuple[Sight, ...] = get_args(Sight)

PROMPT_VERSION = "lmms-eval/0.7.3"
VIDEO_FRAMES = 32
"""Frames of a video, evenly spaced from the first to the last, as in lmms-eval's multi-image tasks."""
_CHARACTERS_PER_TOKEN = 4
_LONGEST_CHARACTERS = 16_384
_DEFAULT_TOKENS = 1024


def prompt_from(messages: Sequence[Mapping[str, Any]], sight: Sight, generation: Mapping[str, Any]) -> Prompt:
    """The prompt of one question.

    The answer is free text. lmms-eval's limit of tokens becomes one of characters, four per token, at which the answer
    is cut off: models that answer with a letter or a number never reach it.

    Args:
        messages: with `role`, and `content` made of texts, images and videos.
        sight: what the model sees of the images.
        generation: the task's generation settings; only `max_new_tokens` matters here.

    Raises:
        ConfigError: the conversation has an answer in it, or a part that is neither text, image nor video.
    """
    system: list[str] = []
    content: list[str | NDArray[np.uint8]] = []
    for message in messages:
        parts = list(_parts(message["content"], sight))
        if message["role"] == "user":
            content += parts
        elif message["role"] == "system":
            system += [part for part in parts if isinstance(part, str)]
        else:
            raise ConfigError(f"expected a question without earlier answers, got a turn of {message['role']!r}")
    characters = min(
        _LONGEST_CHARACTERS, _CHARACTERS_PER_TOKEN * int(generation.get("max_new_tokens", _DEFAULT_TOKENS))
    )
    schema = {"type": "text", "pattern": rf"(?s:.{{0,{characters}}})", "maxLength": characters}
    return Prompt(PROMPT_VERSION, "\n".join(system), tuple(content), schema)


def cut(text: str, generation: Mapping[str, Any]) -> str:
    """The answer up to the first of the task's stop texts (`until`)."""
    until = generation.get("until") or ()
    for stop in (until,) if isinstance(until, str) else until:
        text = text.partition(stop)[0] if stop else text
    return text


def _parts(content: str | Iterable[Mapping[str, Any]], sight: Sight) -> Iterator[str | NDArray[np.uint8]]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        kind = part["type"]
        if kind == "text":
            yield str(part["text"])
        elif kind not in ("image", "video"):
            raise ConfigError(f"expected text, images and videos in a question, got: {kind!r}")
        elif sight != "none":
            images = (_image(part["url"]),) if kind == "image" else video_frames(part["url"])
            yield from (np.zeros_like(image) if sight == "blank" else image for image in images)


def _image(source: Any) -> NDArray[np.uint8]:
    """An image (H, W, 3) from a PIL image or a file, converted as the published scores were measured."""
    with extra("models"):
        from PIL import Image

    image = source if isinstance(source, Image.Image) else Image.open(source)
    return np.asarray(image.convert("RGB"))


def video_frames(file: str) -> tuple[NDArray[np.uint8], ...]:
    """Frames of a video, each (H, W, 3).

    Raises:
        ConfigError: there is no such file.
    """
    with extra("benchmark"):
        from decord import VideoReader
    try:
        reader = VideoReader(str(file))
    except RuntimeError as error:
        raise ConfigError(
            f"cannot read the video {str(file)!r} ({str(error).splitlines()[0]}): copy it again"
        ) from error
    indices = np.linspace(0, len(reader) - 1, min(VIDEO_FRAMES, len(reader)), dtype=int)
    return tuple(reader.get_batch(indices).asnumpy())
