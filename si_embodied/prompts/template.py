"""Prompt files: reading them, and rendering a prompt from one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, ObservationError, UnknownNameError
from si_embodied.plan import plan_schema, with_names
from si_embodied.skills import skill_list
from si_embodied.skills.calling import names_by_skill
from si_embodied.types import Code, Prompt, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.memory import Memory
    from si_embodied.types import Observation, Task

_SECTIONS = ("system", "user", "repair")
_IMAGES = re.compile(r"(\$goal_image\b|\$first_view\b|\$views\b\n*)")  # each view already ends its line
_OPTIONAL = ("skills", "feedback", "holding", "goal_image")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of a prompt: three texts with the placeholders `$instruction`, `$memory`, `$views` and `$offence`.

    The system text may contain `$subgoals`: the task's skills, each with its prompt line from `si_embodied.skills`.

    The user text may contain `$first_view`, only the first image, instead of `$views`. It may then omit `$memory` or
    replace it with `$last`, only the latest attempt. It may also use placeholders that need certain observations:
    `$goal_image`, before the views; and for skill robots `$skills`, `$feedback` and `$holding`.
    """

    version: str
    system: str
    user: str
    repair: str

    def check(self, observation: Observation) -> Refusal | None:
        """Reject an observation that lacks something this prompt shows."""
        if "$goal_image" in self.user and observation.goal_image is None:
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
        views = observation.frames[:1] if "$first_view" in self.user else observation.frames
        schema = plan_schema(task.kind, len(views), reasoning=reasoning)
        if observation.skills is not None:
            schema = with_names(schema, names_by_skill(observation.skills))
        return Prompt(
            self.version,
            _with_skills(self.system, skill_list(task.kind)),
            tuple(self._content(task, observation, memory)),
            schema,
        )

    def _content(self, task: Task, observation: Observation, memory: Memory) -> Iterator[str | NDArray[np.uint8]]:
        """The user text with its placeholders filled in: texts and images (H, W, 3) in order."""
        values = {
            "instruction": " ".join(task.instruction.split()), "memory": memory.describe(), "last": memory.last()
        }  # fmt: skip
        if observation.skills is not None:
            skills = observation.skills
            values |= {"skills": skills.describe(), "feedback": skills.feedback, "holding": skills.holding}
        for part in _IMAGES.split(self.user):
            if part == "$goal_image":
                assert observation.goal_image is not None  # check() has refused it
                yield observation.goal_image
            elif part == "$first_view":  # no caption: these models plan from a single view
                yield observation.frames[0].rgb
            elif part.startswith("$views"):
                for index, frame in enumerate(observation.frames):
                    yield from (f"View {index} ({frame.name} camera): ", frame.rgb, "\n")
            elif part:
                yield Template(part).substitute(values)

    def ask_again(self, prompt: Prompt, offence: str) -> Prompt:
        """The prompt extended with the repair text, which quotes what was wrong with the previous answer."""
        text = "\n" + Template(self.repair).substitute(offence=offence) + "\n"
        return replace(prompt, content=(*prompt.content, text))


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
    allowed = {"system": set(), "user": {"instruction", "memory", "views"}, "repair": {"offence"}}
    if "$subgoals" in sections["system"]:
        allowed["system"] = {"subgoals"}
    if "$first_view" in sections["user"]:
        history = {name for name in ("memory", "last") if f"${name}" in sections["user"]}
        allowed["user"] = {"instruction", "first_view"} | (history if len(history) == 1 else set())
    allowed["user"] |= {name for name in _OPTIONAL if f"${name}" in sections["user"]}
    for name, needed in allowed.items():
        found = re.findall(r"\$(\w*)", sections[name])
        if sorted(found) != sorted(needed):
            wanted = sorted(needed)
            raise ConfigError(f"prompt {version!r}, {name}: expected each of ${wanted} once, got: {sorted(found)}")
    images = _IMAGES.findall(sections["user"])
    if "$goal_image" in images[1:]:
        raise ConfigError(f"prompt {version!r}, user: put $goal_image before the views, which must come last")
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
