"""A played episode on disk: records as evaluations write them, and the plans as conversations to train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.backends.conventions import numbered_images
from si_embodied.data.records import PLACEHOLDER, QUESTIONS_FILE, Conversation, json_line
from si_embodied.errors import RecordError, extra
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.session import RECORDS, STEPS
from si_embodied.evaluation.steps import StepFolder
from si_embodied.runs import cannot_write, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.play.wheel import Lesson

IMAGES = "images"


def save(
    out: Path, config: EvaluationConfig, result: EpisodeResult, lessons: Sequence[Lesson], *, measured: bool
) -> Path:
    """Write an episode to a new folder, and return it.

    `records.jsonl` is that of an evaluation with one episode. `questions.jsonl` has the prompt and the answer of each
    plan that was carried out, in SenseNova-SI's form, with its images beside it: `train lora --data FOLDER` reads it.
    `steps/` has every step, for `data export FOLDER`.

    Args:
        out: the folder for all demonstrations.
        config: the world and the policy.
        result: the episode.
        lessons: prompts and answers.
        measured: whether the world said if the episode succeeded; otherwise the person did.

    Raises:
        RecordError: a file cannot be written.
    """
    folder = _new_folder(out, f"{config.world}-{config.task or 'default'}-seed{result.seed}")
    played = {"instruction": result.instruction, "measured": measured, "by_hand": any(one.by_hand for one in lessons)}
    records = RecordFile(folder / RECORDS, {**config.identity(), "played": played}, versions())
    if result.kept_steps is not None:
        StepFolder(folder / STEPS).put(result.seed, result.kept_steps)
    records.add(dataclasses.replace(result, kept_steps=None))
    names: dict[bytes, str] = {}
    conversations = [_conversation(folder, number, lesson, names) for number, lesson in enumerate(lessons)]
    write_text(folder / QUESTIONS_FILE, "".join(json_line(each.as_json()) for each in conversations))
    return folder


def _new_folder(out: Path, name: str) -> Path:
    for number in range(1, 100_000):
        folder = out / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(folder, error) from error
        return folder
    raise RecordError(f"{str(out)!r} has 100,000 demonstrations of {name!r}; choose another --out")


def _conversation(folder: Path, number: int, lesson: Lesson, names: dict[bytes, str]) -> Conversation:
    """One prompt and its answer; images that occur in several prompts are written once."""
    prompt = lesson.prompt
    content = numbered_images(prompt.content) if prompt.numbered else prompt.content
    texts, images = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part.replace(PLACEHOLDER, "(image)"))  # typed by somebody; it must not count as one
        else:
            texts.append(PLACEHOLDER)
            images.append(_image(folder, part, names))
    system = (("system", prompt.system),) if prompt.system else ()
    turns = (*system, ("human", "".join(texts)), ("gpt", lesson.answer))
    return Conversation(f"{folder.name}-{number}", turns, tuple(images))


def _image(folder: Path, pixels: NDArray[np.uint8], names: dict[bytes, str]) -> str:
    """Write an image if it is a new one, and return its path within the folder."""
    with extra("sim"):
        from PIL import Image
    identity: Any = (pixels.shape, pixels.tobytes())
    if identity not in names:
        names[identity] = f"{IMAGES}/{len(names):04d}.png"
        path = folder / names[identity]
        try:
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        except OSError as error:
            raise cannot_write(path, error) from error
    return names[identity]
