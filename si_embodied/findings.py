"""What a check found: each with a verdict, a sentence, and what to set. For cameras, computers and robots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Verdict: TypeAlias = Literal["fine", "off", "unknown", "note"]

SIGMAS = 3.0
"""A difference of fewer standard deviations may be chance."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    what: str  # "focal length"
    verdict: Verdict  # unknown: it could not be determined; note: the same, but the check does without it
    says: str  # by how much, with the uncertainty
    fix: str = ""  # what to set or do


@dataclass(frozen=True, slots=True)
class Report:
    """A check's findings, with the figures that they rest on."""

    findings: tuple[Finding, ...]
    columns: Mapping[str, str] = field(default_factory=dict)  # of the table, as `print_table` takes them
    rows: Sequence[Sequence[str]] = ()
    settings: tuple[str, ...] = ()  # lines to copy into a file
    figures: Mapping[str, Any] = field(default_factory=dict)  # for programs

    @property
    def verdict(self) -> Verdict:
        """`off` if anything is, else `unknown` if anything is; a note changes nothing."""
        verdicts = {each.verdict for each in self.findings}
        return "off" if "off" in verdicts else "unknown" if "unknown" in verdicts else "fine"

    def lines(self) -> list[str]:
        """The findings in words, then the settings."""
        found = [f"{each.verdict + ':':9}{each.what}: {each.says}" for each in self.findings]
        fixes = [f"{each.what}: {each.fix}" for each in self.findings if each.fix]
        return [
            *found,
            *(["", "What to do:", *fixes] if fixes else []),
            *(["", *self.settings] if self.settings else []),
        ]


def judged(difference: float, sigma: float, tolerance: float) -> Verdict:
    """Whether a difference matters.

    Args:
        difference: of what is set from what was measured.
        sigma: its standard deviation; infinite or NaN if the pictures do not determine it.
        tolerance: the largest difference that does no harm.
    """
    size = abs(difference)
    if not math.isfinite(sigma):
        return "unknown"
    if size > tolerance and size > SIGMAS * sigma:
        return "off"
    return "fine" if size <= tolerance and sigma <= tolerance else "unknown"
