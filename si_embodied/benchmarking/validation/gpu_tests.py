"""Runs the tests that are marked `gpu`, and reads what came of each."""

from __future__ import annotations

import re
import subprocess  # nosec B404 - starts pytest with this interpreter, without a shell
import sys
import xml.etree.ElementTree as ElementTree  # nosec B405 - reads the file that pytest wrote just before
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.benchmarking.results import markdown_rows
from si_embodied.benchmarking.validation.findings import Finding, State
from si_embodied.errors import BackendError

if TYPE_CHECKING:
    from si_embodied.benchmarking.validation.settings import ValidationRun

_MARK = "mark.gpu"
_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of a test."""

    __test__ = False  # pytest need not look for tests in here
    name: str
    outcome: str  # "passed", "failed" or "skipped"
    reason: str  # why it failed or was skipped; empty if it passed


def run_gpu_tests(run: ValidationRun, say: Callable[[str], None]) -> Finding:
    """Run the tests marked `gpu` with this interpreter.

    Raises:
        BackendError: pytest could not run them.
    """
    files = [file for file in sorted(run.tests.rglob("test_*.py")) if _MARK in file.read_text(encoding="utf-8")]
    if not files:
        words = f"no tests marked gpu in {run.tests}: they come with the source, not with the wheel"
        return Finding("impossible", words)
    folder = run.out.absolute() / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    command = (sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-p", "no:cacheprovider", "--junitxml", str(results))
    with (folder / "pytest.log").open("w", encoding="utf-8") as log:
        code = _stream((*command, *map(str, files)), run.tests.parent, log.write, say)
    if not results.exists():
        raise BackendError(f"pytest ended with code {code} and without results: {folder / 'pytest.log'} says why")
    return finding_of(outcomes(results))


def _stream(command: tuple[str, ...], folder: Path, log: Callable[[str], object], say: Callable[[str], None]) -> int:
    """Run a program; its lines go to the log, and those of tests that ran to the terminal."""
    with subprocess.Popen(  # nosec B603
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None  # it is a pipe
        for line in process.stdout:
            log(line)
            if re.search(r"::.* (PASSED|FAILED|ERROR)\b.*%\]$", line.rstrip()):
                say(f"  {line.rstrip()}")
    return process.returncode


def outcomes(results: Path) -> list[TestOutcome]:
    """Read pytest's results (JUnit's XML)."""
    found = []
    for case in ElementTree.parse(results).getroot().iter("testcase"):  # nosec B314
        name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
        worst = next((each for kind in ("error", "failure", "skipped") for each in case.iter(kind)), None)
        if worst is None:
            found.append(TestOutcome(name, "passed", ""))
        else:
            reason = " ".join((worst.get("message") or "no message").split())[:_LONGEST_LINE]
            found.append(TestOutcome(name, "skipped" if worst.tag == "skipped" else "failed", reason))
    return found


def finding_of(tests: list[TestOutcome]) -> Finding:
    """Failed if any test failed; impossible if all were skipped."""
    counts = Counter(test.outcome for test in tests)
    state: State = "failed" if counts["failed"] else "done" if counts["passed"] else "impossible"
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))
    skipped = Counter(test.reason for test in tests if test.outcome == "skipped")
    if state == "impossible":
        words += f": {'; '.join(skipped)}"
    broken = [(f"`{each.name}`", _cell(each.reason)) for each in tests if each.outcome == "failed"]
    lines = markdown_rows(("failed", "why"), broken) if broken else []
    lines += ["", *(f"- {count} skipped: {reason}" for reason, count in skipped.most_common())]
    passed = [f"`{each.name}`" for each in tests if each.outcome == "passed"]
    lines += ["", f"Passed: {', '.join(passed) or 'none'}"]
    rows = [{"name": each.name, "outcome": each.outcome, "reason": each.reason} for each in tests]
    return Finding(state, words, tuple(lines), {"tests": rows})


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
