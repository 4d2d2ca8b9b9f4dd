"""A prompt file and what it renders to."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.memory import Memory
    from si_embodied.types import Observation, Task

_SECTIONS = ("system", "user", "repair")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of a prompt: three texts with `$instruction`, `$memory`, `$views` and `$offence` to fill.

    A user's text may have `$first_view` in place of `$views`: the first image alone. It may then leave out `$memory`,
    or have `$last` in its place: the latest attempt alone.
    """

    version: str
    system: str
    user: str
    repair: str

    def render(self, task: Task, observation: Observation, memory: Memory, *, reasoning: bool = False) -> Prompt:
        """The prompt for one plan: each view is its caption and its image, in the observation's order.

        What an instruction says is text and nothing more: a `$` in it is not filled.
        """
        filled = {
            "instruction": " ".join(task.instruction.split()), "memory": memory.describe(), "last": memory.last()
        }  # fmt: skip
        if "$first_view" in self.user:
            return self._render_first_view(task, observation, filled, reasoning)
        before, after = self.user.split("$views")
        content: list[str | NDArray[np.uint8]] = [Template(before).substitute(filled)]
        for index, frame in enumerate(observation.frames):
            content += [f"View {index} ({frame.name} camera): ", frame.rgb, "\n"]
        content.append(Template(after.lstrip("\n")).substitute(filled))
        schema = plan_schema(task.kind, len(observation.frames), reasoning=reasoning)
        return Prompt(self.version, self.system, tuple(content), schema)

    def _render_first_view(
        self, task: Task, observation: Observation, filled: dict[str, str], reasoning: bool
    ) -> Prompt:
        """One image without a caption, for models that plan from a single view."""
        before, after = (Template(part).substitute(filled) for part in self.user.split("$first_view"))
        parts = (before, observation.frames[0].rgb, after)
        content = tuple(part for part in parts if not isinstance(part, str) or part)
        return Prompt(self.version, self.system, content, plan_schema(task.kind, 1, reasoning=reasoning))

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
    if "$first_view" in sections["user"]:
        told = {name for name in ("memory", "last") if f"${name}" in sections["user"]}
        allowed["user"] = {"instruction", "first_view"} | (told if len(told) == 1 else set())
    for name, needed in allowed.items():
        found = re.findall(r"\$(\w+)", sections[name])
        if sorted(found) != sorted(needed):
            raise ConfigError(f"prompt {version!r}, {name}: expected ${sorted(needed)} once each, got: {sorted(found)}")
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
    """The template of a version that comes with the package.

    Raises:
        UnknownNameError: there is no such version.
    """
    files = _files(resources.files("si_embodied.prompts"))
    if version not in files:
        raise UnknownNameError("prompt version", version, files)
    return parse_template(version, files[version].read_text(encoding="utf-8"))
