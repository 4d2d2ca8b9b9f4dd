"""Turn questions and answers on disk into training examples, with the same family code that inference uses.

A conversation is tokenized exactly as the planner would send it and as the model should answer. Only the answers have a
loss, including their end-of-turn token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from si_embodied.data.records import (
    LABELS_FILE,
    MANIFEST_FILE,
    PLACEHOLDER,
    QUESTIONS_FILE,
    Conversation,
    read_conversations,
    read_dataset,
)
from si_embodied.errors import BackendError, DataError, ObservationError, PlanParseError, extra
from si_embodied.images.files import rgb_of
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.types import Prompt

with extra("train"):
    import torch
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.models.families import Family

Form: TypeAlias = Literal["text", "points", "plan"]
"""What numbers in an answer mean: nothing special, coordinates in 0..1000 of an image, or a plan's points."""

NO_LOSS = -100
"""The label that torch's cross entropy ignores."""

_POINTS = re.compile(r"(<box>)?\[?\[\s*\d+\s*,\s*\d+\s*(,\s*\d+\s*,\s*\d+\s*)?\]\]?(</box>)?")
_ASKS_FOR_POINTS = re.compile(r"0 to 1000|bounding box|<ref>|\bpoints?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation whose images are known to exist."""

    conversation: Conversation
    images: tuple[Path, ...]
    forms: tuple[Form, ...]  # one per answer


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A tokenized conversation."""

    input_ids: NDArray[np.int64]  # (T,)
    labels: NDArray[np.int64]  # (T,), the token inside an answer, NO_LOSS elsewhere
    is_image: NDArray[np.bool_]  # (T,), where an image feature replaces the token
    pixels: dict[str, NDArray[Any]]  # by the model's argument names; empty without images


# --- from disk ------------------------------------------------------------------------------------------------------


def read_records(sources: Sequence[Path], image_root: Path | None = None) -> tuple[Record, ...]:
    """Read all records of some data sets, checking that images exist without reading them.

    Args:
        sources: folders written by `si-embodied data generate`, or JSONL files in SenseNova-SI's form.
        image_root: the folder that image paths are relative to; by default the data set's own.

    Raises:
        DataError: there is no source, one is missing, empty or malformed, or an image is missing; the message names
            the record.
    """
    if not sources:
        raise DataError("expected at least one data set, got none: nothing to train on")
    records: list[Record] = []
    for source in sources:
        folder = source if source.is_dir() else source.parent
        found = [_record(*pair, image_root or folder) for pair in _read(source)]
        if not found:
            raise DataError(f"no questions in {str(source)!r}: nothing to train on")
        records += found
    return tuple(records)


def fingerprint(sources: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the question files; equal for runs on the same data."""
    digest = hashlib.sha256()
    for source in sources:
        with (source / QUESTIONS_FILE if source.is_dir() else source).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read(source: Path) -> Iterable[tuple[Conversation, str | None]]:
    """Conversations with their answer's form, or None without labels."""
    if source.is_dir() and ((source / MANIFEST_FILE).is_file() or not (source / QUESTIONS_FILE).is_file()):
        return ((conversation, labels.form) for conversation, labels in read_dataset(source))
    if source.is_dir() and (source / LABELS_FILE).is_file():
        raise DataError(
            f"no finished data set in {str(source)!r}: it has no {MANIFEST_FILE}; "
            "run `si-embodied data generate` again to finish it"
        )
    file = source / QUESTIONS_FILE if source.is_dir() else source
    return ((conversation, None) for conversation in read_conversations(file))


def _record(conversation: Conversation, form: str | None, root: Path) -> Record:
    speakers = [speaker for speaker, _ in conversation.turns if speaker != "system"]
    if speakers[0] != "human" or speakers[-1] != "gpt" or any(one == other for one, other in pairwise(speakers)):
        raise DataError(f"record {conversation.id!r}: expected alternating human and gpt turns, got: {speakers}")
    later = [text for speaker, text in conversation.turns if speaker != "system"][1:]
    if any(PLACEHOLDER in text for text in later):
        raise DataError(f"record {conversation.id!r}: images after the first question; move them all into the first")
    images = tuple(root / name for name in conversation.images)
    for path in images:
        if not path.is_file():
            raise DataError(
                f"record {conversation.id!r}: no image at {str(path)!r}; give the folder of the images with --images"
            )
    spoken = [text for speaker, text in conversation.turns if speaker != "system"]
    forms = tuple(_form(question, answer, form) for question, answer in zip(spoken[::2], spoken[1::2], strict=True))
    for answer, found in zip(spoken[1::2], forms, strict=True):
        if found == "plan":
            _check_plan(conversation, answer)
    return Record(conversation, images, forms)


def _check_plan(conversation: Conversation, answer: str) -> None:
    """A model learns no plan that the planner would refuse; views may count from 0, or from 1 as in a prompt."""
    try:
        parse_plan(answer, None, {number: number for number in range(len(conversation.images) + 1)})
    except PlanParseError as error:
        raise DataError(f"record {conversation.id!r}: {error}") from error


def _form(question: str, answer: str, labelled: str | None) -> Form:
    """What the numbers in an answer mean: as labelled, or guessed from the wording of question and answer."""
    if labelled is not None:
        return "plan" if labelled == "plan" else "points" if labelled in ("point", "box") else "text"
    if answer.lstrip().startswith('{"subgoals"'):
        return "plan"
    if _POINTS.fullmatch(answer.strip()) and _ASKS_FOR_POINTS.search(question):
        return "points"
    return "text"


# --- to tokens ------------------------------------------------------------------------------------------------------


def encode(record: Record, family: Family) -> Example:
    """Tokenize a record.

    Raises:
        DataError: an image cannot be read or does not fit the family, or an answer's points fit no image.
    """
    try:
        inputs = family.encode(_prompt(record, family))
        spoken = [text for speaker, text in record.conversation.turns if speaker != "system"]
        parts = [(inputs.input_ids, False)]
        for number, form in enumerate(record.forms):
            question, answer = spoken[2 * number : 2 * number + 2]
            if number:
                parts.append((family.encode_follow_up(question), False))
            own = answer if form == "text" else family.own_answer(answer, form, inputs.image_sizes_px)
            parts.append((family.encode_answer(own), True))
    except (BackendError, ObservationError) as error:
        raise DataError(f"record {record.conversation.id!r}: {error}") from error
    ids = np.concatenate([tokens for tokens, _ in parts])
    labels = np.concatenate([tokens if answer else np.full_like(tokens, NO_LOSS) for tokens, answer in parts])
    is_image = np.zeros(len(ids), dtype=np.bool_)
    is_image[: len(inputs.is_image)] = inputs.is_image
    return Example(ids, labels, is_image, dict(inputs.pixels))


def _prompt(record: Record, family: Family) -> Prompt:
    """The first question as the planner would send it.

    A plan schema makes families that answer in pixels tell the model the images' sizes.
    """
    conversation, images = record.conversation, [load_image(record, path) for path in record.images]
    content = picture_and_text(conversation.question, images, family)
    system = "\n".join(text for speaker, text in conversation.turns if speaker == "system")
    placed = images and any(form != "text" for form in record.forms)
    return Prompt("tuning", system, content, plan_schema("navigation", len(images)) if placed else {})


def picture_and_text(
    question: str, images: Sequence[NDArray[np.uint8]], family: Family
) -> tuple[str | NDArray[np.uint8], ...]:
    """A question's parts in order, with each image at its placeholder, or all images first if there are none.

    Text that the family itself writes around an image ("Image-1: ") is removed from the question.
    """
    if images and PLACEHOLDER not in question:
        question = PLACEHOLDER * len(images) + question
    texts = question.split(PLACEHOLDER)
    for number in range(len(images)):
        lead, trail = family.image_text(number + 1, len(images))
        texts[number] = texts[number].removesuffix(lead)
        texts[number + 1] = texts[number + 1].removeprefix(trail)
    content: list[str | NDArray[np.uint8]] = [texts[0]] if texts[0] else []
    for image, text in zip(images, texts[1:], strict=True):
        content += [image, text] if text else [image]
    return tuple(content)


def load_image(record: Record, path: Path) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a record's image.

    Raises:
        DataError: the image cannot be read.
    """
    try:
        with Image.open(path) as image:
            return rgb_of(image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"record {record.conversation.id!r}: cannot read {str(path)!r} ({error})") from error


class Examples(torch.utils.data.Dataset[Example]):
    """Records encoded on access, so that the images need not fit into memory."""

    def __init__(self, records: Sequence[Record], family: Family, max_tokens: int) -> None:
        """Examples longer than `max_tokens` are an error, because truncation would cut an image or an answer."""
        self._records, self._family, self._max_tokens = records, family, max_tokens

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        example = encode(self._records[index], self._family)
        if len(example.input_ids) > self._max_tokens:
            raise DataError(
                f"record {self._records[index].conversation.id!r} has {len(example.input_ids)} tokens, more than the "
                f"{self._max_tokens} allowed: raise --max-tokens, or use smaller images"
            )
        return example


@dataclass(frozen=True, slots=True)
class Collator:
    """Collates examples into a batch: tokens padded on the right, images concatenated."""

    padding: int  # any token id: padding is masked out and has no loss
    token_types: bool  # whether the model takes `mm_token_type_ids` (Qwen)

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The model's arguments, each (B, T) except the pixels."""
        lengths = [len(example.input_ids) for example in examples]
        shape = (len(examples), max(lengths))
        batch = {
            "input_ids": torch.full(shape, self.padding),
            "labels": torch.full(shape, NO_LOSS),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
        }
        if self.token_types:
            batch["mm_token_type_ids"] = torch.zeros(shape, dtype=torch.int32)
        for row, (example, length) in enumerate(zip(examples, lengths, strict=True)):
            batch["input_ids"][row, :length] = torch.from_numpy(example.input_ids)
            batch["labels"][row, :length] = torch.from_numpy(example.labels)
            batch["attention_mask"][row, :length] = 1
            if self.token_types:
                batch["mm_token_type_ids"][row, :length] = torch.from_numpy(example.is_image.astype(np.int32))
        return batch | joined_pixels(examples)


def joined_pixels(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The images of all examples, by the model's argument names."""
    return {
        name: torch.from_numpy(np.concatenate([each.pixels[name] for each in examples if name in each.pixels]))
        for name in sorted({name for example in examples for name in example.pixels})
    }
