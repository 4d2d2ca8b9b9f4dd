"""How a prompt asks about one image: its texts around the image, as the planner renders them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.backends.conventions import numbered_images
from si_embodied.embodiment import TaskKind
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.memory import NOTHING_YET, Memory, outcome_words
from si_embodied.prompts import load_prompt
from si_embodied.types import CameraFrame, Code, Observation, SkillState, Task

if TYPE_CHECKING:
    from si_embodied.config import Prompts
    from si_embodied.training.questions import Question

_KINDS: tuple[TaskKind, ...] = ("manipulation", "navigation", "rearrangement")
"""The tasks in `WORLDS`."""
_INSTRUCTION = "INSTRUCTION"


@dataclass(frozen=True, slots=True)
class Form:
    """The texts of a prompt that shows one image."""

    system: str
    before: str  # the text before the image
    shared: str  # the text after it that is the same whatever was tried
    rest: str  # the text from there to the instruction, with marks for what was tried and for the instruction
    view: int  # the image's number in an answer
    stepwise: bool  # whether the prompt shows every attempt: then an answer is the next step, and never done beside it

    def asked(self, question: Question) -> str:
        """The text after `shared`, for a question with an instruction."""
        tried = reached = question.last
        if self.stepwise and tried != NOTHING_YET:
            tried = "\n".join(f"{number}. {one}" for number, one in enumerate((*question.earlier, tried), start=1))
            arrived = reached.startswith("goto") and reached.endswith(f": {outcome_words(Code.OK)}")
            reached = reached.rpartition(":")[0] if arrived else NOTHING_YET
        before, found, after = self.rest.partition(NOTHING_YET)
        text = before + (tried if found else "") + after.replace(NOTHING_YET, reached)  # which `$achieved` says
        return text.replace(_INSTRUCTION, str(question.instruction))


@cache
def form_of(version: str, kind: TaskKind) -> Form:
    """The form of a prompt's version."""
    template = load_prompt(version)
    camera = Intrinsics(2, 2, 2.0, 2.0, 1.0, 1.0)
    image, depth = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32)
    frame = CameraFrame("head", 0.0, image, depth, camera, Pose.identity())
    skills = SkillState((), "the task begins", succeeded=True, holding="nothing") if kind == "rearrangement" else None
    observation = Observation(0.0, (frame,), Pose.identity(), skills=skills)
    prompt = template.render(Task(_INSTRUCTION, kind), observation, Memory())
    content = numbered_images(prompt.content) if prompt.numbered else prompt.content
    at = next(index for index, part in enumerate(content) if not isinstance(part, str))
    before, after = ("".join(str(part) for part in parts) for parts in (content[:at], content[at + 1 :]))
    shared = after[: after.index(NOTHING_YET)] if NOTHING_YET in after else ""
    if not template.shows_attempts:
        shared = ""
    return Form(prompt.system, before, shared, after[len(shared) :], min(prompt.views), template.shows_attempts)


def form_for(prompts: Prompts, world: int) -> Form:
    """The form of the prompt for the images of a world, by its index in `WORLDS`."""
    kind = _KINDS[world]
    return form_of(str(prompts.version(kind)), kind)
