"""A machine that tells what a test says: files under a folder, and programs' outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from si_embodied.deployment.machine import Machine


@dataclass(frozen=True)
class Told(Machine):
    outputs: Mapping[str, str] = field(default_factory=dict)

    def has(self, program: str) -> bool:
        return program in self.outputs

    def output(self, program: str, *arguments: str, timeout_s: float = 0.0) -> str | None:
        return self.outputs.get(program)


def told(root: Path, files: Mapping[str, str] | None = None, **outputs: str) -> Told:
    """Program names with a hyphen are written with an underscore."""
    for path, text in (files or {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    names = {"nvidia_smi": "nvidia-smi"}
    return Told(root, {names.get(name, name): text for name, text in outputs.items()})
