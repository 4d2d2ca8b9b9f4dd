"""A prompt file and what it renders to."""

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
    from importlib.resources.abc import Traversable

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.memory import Memory
    from si_embodied.types import Observation, Task

_SECTIONS = ("system", "user", "repair")
_PICTURES = re.compile(r"(\$goal_image\b|\$first_view\b|\$views\b\n*)")  # every view ends its own line
_OPTIONAL = ("skills", "feedback", "holding", "goal_image")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of a prompt: three texts with `$instruction`, `$memory`, `$views` and `$offence` to fill.

    The system text may have `$subgoals`: the skills of the task, each with what `si_embodied.skills` says of it.

    A user's text may have `$first_view` in place of `$views`: the first image alone. It may then leave out `$memory`,
    or have `$last` in its place: the latest attempt alone. It may show what only some observations have: `$goal_image`,
    before the views, and of a robot of skills `$skills`, `$feedback` and `$holding`.
    """

    version: str
    system: str
    user: str
    repair: str

    def check(self, observation: Observation) -> Refusal | None:
        """Refuse an observation that lacks what this prompt shows."""
        if "$goal_image" in self.user and observation.goal_image is None:
            words = f"prompt {self.version!r} shows a goal picture, and the observation has none"
            return Refusal(Code.NO_IMAGE, f"{words}; take a prompt without $goal_image")
        if observation.skills is None and any(f"${name}" in self.user for name in ("skills", "feedback", "holding")):
            words = f"prompt {self.version!r} shows a robot's skills, and the observation has none"
            return Refusal(Code.NO_IMAGE, f"{words}; see docs/evaluation.md for what an observation has")
        return None

    def render(self, task: Task, observation: Observation, memory: Memory, *, reasoning: bool = False) -> Prompt:
        """The prompt for one plan: each view is its caption and its image, in the observation's order.

        What an instruction says is text and nothing more: a `$` in it is not filled.

        Raises:
            ObservationError: the observation lacks what the prompt shows, which `check` tells beforehand.
        """
        lack = self.check(observation)
        if lack is not None:
            raise ObservationError(lack.message)
        filled = {
            "instruction": " ".join(task.instruction.split()), "memory": memory.describe(), "last": memory.last()
        }  # fmt: skip
        if observation.skills is not None:
            skills = observation.skills
            filled |= {"skills": skills.describe(), "feedback": skills.feedback, "holding": skills.holding}
        content: list[str | NDArray[np.uint8]] = []
        views = observation.frames
        for part in _PICTURES.split(self.user):
            if part == "$goal_image":
                assert observation.goal_image is not None  # check() refuses it
                content.append(observation.goal_image)
            elif part == "$first_view":  # without a caption, for models that plan from a single view
                views = observation.frames[:1]
                content.append(views[0].rgb)
            elif part.startswith("$views"):
                for index, frame in enumerate(views):
                    content += [f"View {index} ({frame.name} camera): ", frame.rgb, "\n"]
            elif part:
                content.append(Template(part).substitute(filled))
        schema = plan_schema(task.kind, len(views), reasoning=reasoning)
        if observation.skills is not None:
            schema = with_names(schema, names_by_skill(observation.skills))
        system = Template(self.system).substitute(subgoals=skill_list(task.kind))
        return Prompt(self.version, system, tuple(content), schema)

    def ask_again(self, prompt: Prompt, offence: str) -> Prompt:
        """The same question after an answer that was not a plan, saying what was wrong with it."""
        text = "\n" + Template(self.repair).substitute(offence=offence) + "\n"
        return replace(prompt, content=(*prompt.content, text))


def parse_template(version: str, text: str) -> PromptTemplate:
    """Read a prompt file: sections headed `# system`, `# user` and `# repair`.

    Raises:
        ConfigError: a section is missing or doubled, or a placeholder is unknown or missing.
    """
    parts = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    names, bodies = parts[1::2], [body.strip("\n") for body in parts[2::2]]
    if sorted(names) != sorted(_SECTIONS):
        raise ConfigError(f"prompt {version!r}: expected the sections {_SECTIONS} once each, got: {names}")
    sections = dict(zip(names, bodies, strict=True))
    allowed = {"system": set(), "user": {"instruction", "memory", "views"}, "repair": {"offence"}}
    if "$subgoals" in sections["system"]:
        allowed["system"] = {"subgoals"}
    if "$first_view" in sections["user"]:
        told = {name for name in ("memory", "last") if f"${name}" in sections["user"]}
        allowed["user"] = {"instruction", "first_view"} | (told if len(told) == 1 else set())
    allowed["user"] |= {name for name in _OPTIONAL if f"${name}" in sections["user"]}
    for name, needed in allowed.items():
        found = re.findall(r"\$(\w+)", sections[name])
        if sorted(found) != sorted(needed):
            raise ConfigError(f"prompt {version!r}, {name}: expected ${sorted(needed)} once each, got: {sorted(found)}")
    pictures = _PICTURES.findall(sections["user"])
    if "$goal_image" in pictures[1:]:
        raise ConfigError(f"prompt {version!r}, user: put $goal_image before the views, which are the last images")
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
    """The versions that come with the package."""
    return sorted(_files(resources.files("si_embodied.prompts")))


@functools.cache
def load_prompt(version: str) -> PromptTemplate:
    """The template of a version that comes with the package, or of a file of one's own ("prompts/mine.md").

    Raises:
        UnknownNameError: there is no such version.
        ConfigError: the file cannot be read, or is not a prompt.
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
