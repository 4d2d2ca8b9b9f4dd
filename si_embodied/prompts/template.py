"""Prompt files: reading them, and rendering a prompt from one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import ConfigError, ObservationError, UnknownNameError
from si_embodied.plan import plan_schema, with_names
from si_embodied.prompts.places import goal_text, notes_text, objects_text
from si_embodied.skills import skill_list
from si_embodied.skills.calling import names_by_skill
from si_embodied.types import Code, Prompt, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

    from si_embodied.memory import Memory
    from si_embodied.skills import Shown
    from si_embodied.types import CameraFrame, Observation, Task

_SECTIONS = ("system", "user", "repair")
_IMAGES = re.compile(r"(\$(?:goal_image|first_view|keyframes|thumbnails|images|first_image)\b|\$views\b\n*)")
_PRESENT = ("views", "first_view", "images", "first_image")
_EARLIER = ("keyframes", "thumbnails")
_NUMBERED = ("images", "first_image")
_ALL_PRESENT = re.compile(r"\$(views|images)\b")
_ONLY_FIRST = {"views": "$first_view", "images": "$first_image"}
_HISTORY = ("memory", "last")
_OPTIONAL = ("skills", "feedback", "holding", "goal_image", "notes", "objects", "goal", "achieved")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of a prompt: three texts with placeholders.

    The system text may contain `$subgoals`: the skills on offer, each with its prompt line from `si_embodied.skills`.

    The user text contains `$instruction`, and the present views as one of
    - `$views`: all of them, each with a caption and a line of its own; `$first_view`: the first one, without a caption;
    - `$images`: all of them, `$first_image`: the first one, both numbered like `Image-1`, as the families were trained.

    It may contain
    - `$memory`: the latest attempts, or `$last`: only the latest one; required with `$views`;
    - `$keyframes`: the earlier views at full size, or `$thumbnails`: at half size; numbered, before the present ones;
    - `$notes`: where and when each numbered image was taken; `$objects`: the known objects and where they are;
    - `$goal`: how far away and in which direction a point goal is now; `$achieved`: which places have been reached;
    - `$goal_image`, before the views, which numbered prompts show only if there is one;
    - `$skills`, `$feedback` and `$holding`, for skill robots.

    The repair text contains `$offence`.
    """

    version: str
    system: str
    user: str
    repair: str
    without: tuple[str, ...] = ()  # names of skills that are not offered

    def limited(self, *, look_around: bool = True, first_camera_only: bool = False) -> PromptTemplate:
        """This prompt without the skill `look_around`, or with the first camera's present view alone."""
        without = self.without if look_around else (*self.without, "look_around")
        only_first = _ALL_PRESENT.sub(lambda found: _ONLY_FIRST[found[1]], self.user)
        return replace(self, without=without, user=only_first if first_camera_only else self.user)

    def check(self, observation: Observation) -> Refusal | None:
        """Reject an observation that lacks something this prompt shows."""
        if self._has("goal_image") and not self.numbered and observation.goal_image is None:
            words = f"prompt {self.version!r} shows a goal image, but the observation has none"
            return Refusal(Code.NO_IMAGE, f"{words}; use a prompt without $goal_image")
        if observation.skills is None and any(f"${name}" in self.user for name in ("skills", "feedback", "holding")):
            words = f"prompt {self.version!r} shows a robot's skills, but the observation has none"
            return Refusal(Code.NO_IMAGE, f"{words}; see docs/evaluation.md for the fields of an observation")
        return None

    def render(self, task: Task, observation: Observation, memory: Memory, *, reasoning: bool = False) -> Prompt:
        """The prompt for one plan. Each view is a caption and an image, in the observation's order.

        The instruction is inserted verbatim: a `$` in it is not a placeholder.

        Raises:
            ObservationError: the observation lacks something the prompt shows (see `check`).
        """
        lack = self.check(observation)
        if lack is not None:
            raise ObservationError(lack.message)
        earlier, present = self._earlier(observation), self._present(observation)
        views = [*range(len(observation.frames), len(observation.frames) + len(earlier)), *range(len(present))]
        first = 1 + len(self._goal_images(observation)) if self.numbered else 0
        schema = plan_schema(
            task.kind, len(views), first_view=first, shown=self.shown, without=self.without, reasoning=reasoning
        )
        if observation.skills is not None:
            schema = with_names(schema, names_by_skill(observation.skills))
        elif "objects" in self.shown:
            schema = with_names(schema, {"navigate": [*observation.places]})
        return Prompt(
            self.version,
            _with_skills(self.system, skill_list(task.kind, self.shown, self.without)),
            tuple(self._content(task, observation, memory)),
            schema,
            numbered=self.numbered,
            views=dict(enumerate(views, start=first)),
            frames=(*earlier, *present),
        )

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What this prompt shows of the planner's memory."""
        found: list[Shown] = ["keyframes"] if self._has(*_EARLIER) else []
        return (*found, "objects") if self._has("objects") else tuple(found)

    @property
    def shows_attempts(self) -> bool:
        """Whether this prompt says what has been tried so far, not just how the latest attempt went."""
        return self._has("memory")

    @property
    def numbered(self) -> bool:
        """Whether this prompt and its answers number the images, as `Image-1`, `Image-2`."""
        return self._has(*_NUMBERED)

    def _has(self, *names: str) -> bool:
        return any(re.search(rf"\${name}\b", self.user) for name in names)

    def _present(self, observation: Observation) -> tuple[CameraFrame, ...]:
        return observation.frames[:1] if self._has("first_view", "first_image") else observation.frames

    def _goal_images(self, observation: Observation) -> tuple[NDArray[np.uint8], ...]:
        given = observation.goal_image is not None and self._has("goal_image")
        return (observation.goal_image,) if given else ()  # type: ignore[return-value]

    def _earlier(self, observation: Observation) -> tuple[CameraFrame, ...]:
        return observation.keyframes if self._has(*_EARLIER) else ()

    def _content(self, task: Task, observation: Observation, memory: Memory) -> Iterator[str | NDArray[np.uint8]]:
        """The user text with its placeholders filled in: texts and images (H, W, 3) in order."""
        views = (*self._earlier(observation), *self._present(observation))
        values = {
            "instruction": " ".join(task.instruction.split()), "memory": memory.describe(), "last": memory.last(),
            "achieved": memory.achieved(), "objects": objects_text(observation), "goal": goal_text(observation),
            "notes": notes_text(views, observation, goal_images=len(self._goal_images(observation))),
        }  # fmt: skip
        if observation.skills is not None:
            skills = observation.skills
            values |= {"skills": skills.describe(), "feedback": skills.feedback, "holding": skills.holding}
        for part in _IMAGES.split(self.user):
            if part == "$goal_image":
                yield from self._goal_images(observation)
            elif part in ("$keyframes", "$thumbnails"):
                yield from (frame.rgb if part == "$keyframes" else halved(frame.rgb) for frame in observation.keyframes)
            elif part in ("$first_view", "$first_image", "$images"):  # the model's family writes the numbers
                yield from (frame.rgb for frame in self._present(observation))
            elif part.startswith("$views"):  # each view ends its line
                for index, frame in enumerate(observation.frames):
                    yield from (f"View {index} ({frame.name} camera): ", frame.rgb, "\n")
            elif part:
                yield Template(part).substitute(values)

    def ask_again(self, prompt: Prompt, offence: str) -> Prompt:
        """The prompt extended with the repair text, which quotes what was wrong with the previous answer."""
        text = "\n" + Template(self.repair).substitute(offence=offence) + "\n"
        return replace(prompt, content=(*prompt.content, text))


def halved(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) at half its size: the mean of each 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    wide = rgb[:height, :width].astype(np.uint16)
    rows = wide[0::2] + wide[1::2]
    mean: NDArray[np.uint8] = ((rows[:, 0::2] + rows[:, 1::2]) // 4).astype(np.uint8)
    return mean


@functools.lru_cache(maxsize=64)
def _with_skills(system: str, skills: str) -> str:
    return Template(system).substitute(subgoals=skills)


def parse_template(version: str, text: str) -> PromptTemplate:
    """Parse a prompt file with the sections `# system`, `# user` and `# repair`.

    Raises:
        ConfigError: a section is missing or repeated, or a placeholder is unknown, missing or repeated.
    """
    parts = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    names, bodies = parts[1::2], [body.strip("\n") for body in parts[2::2]]
    if sorted(names) != sorted(_SECTIONS):
        raise ConfigError(f"prompt {version!r}: expected each of the sections {_SECTIONS} once, got: {names}")
    sections = dict(zip(names, bodies, strict=True))
    asked = {name: re.findall(r"\$(\w*)", section) for name, section in sections.items()}
    user = asked["user"]
    present = next((name for name in _PRESENT if name in user), "views")
    allowed = {"system": {*asked["system"]} & {"subgoals"}, "repair": {"offence"}}
    allowed["user"] = {"instruction", present, *({*_OPTIONAL} & {*user})}
    if present == "views":
        allowed["user"].add("memory")
    else:
        for choices in (_HISTORY, _EARLIER if present in _NUMBERED else ()):
            allowed["user"] |= {name for name in choices if name in user and len({*choices} & {*user}) == 1}
    for name, needed in allowed.items():
        found = asked[name]
        if sorted(found) != sorted(needed):
            wanted = sorted(needed)
            raise ConfigError(f"prompt {version!r}, {name}: expected each of ${wanted} once, got: {sorted(found)}")
    images = [name for name in user if name in (*_PRESENT, *_EARLIER, "goal_image")]
    if images != sorted(images, key=lambda name: (name != "goal_image", name in _PRESENT)):
        order = "$goal_image first, then earlier views, then the present ones"
        raise ConfigError(f"prompt {version!r}, user: expected the images in the order: {order}; got: {images}")
    return PromptTemplate(version, **sections)


def _files(folder: Traversable, prefix: str = "") -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".md"):
            found[prefix + entry.name.removesuffix(".md")] = entry
    return found


def prompt_versions() -> list[str]:
    """The prompt versions shipped with the package."""
    return sorted(_files(resources.files("si_embodied.prompts")))


@functools.cache
def load_prompt(version: str) -> PromptTemplate:
    """Load a version shipped with the package ("nav/v1"), or a prompt file of your own ("prompts/mine.md").

    Raises:
        UnknownNameError: the package has no such version.
        ConfigError: the file cannot be read, or is not a valid prompt.
    """
    if version.endswith(".md"):
        try:
            return parse_template(version, Path(version).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the prompt file {version!r}: {error}") from error
    files = _files(resources.files("si_embodied.prompts"))
    if version not in files:
        raise UnknownNameError("prompt version", version, files)
    return parse_template(version, files[version].read_text(encoding="utf-8"))
