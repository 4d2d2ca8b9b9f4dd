"""The promises of tests/faults, read from the sources, and docs/reliability.md, written from them and the results."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import faults as chaos

from si_embodied import errors
from si_embodied.types import Code

# Names that a function's name cannot spell.
NAMES = (
    "GGUF", "HTTP", "JSON", "K", "NO_PROGRESS", "Nav2", "PNG", "ROS", "SQLite", "kill -9",
)  # fmt: skip
FAULTS = Path(__file__).parent
DOCUMENT = FAULTS.parents[1] / "docs" / "reliability.md"
TABLE = ("| promise | code | recovers | result |", "| --- | --- | --- | --- |")
CHAOS = "## Faults at random"
INTRODUCTION = """\
# Reliability

What the planner promises when something goes wrong. It follows five rules:

1. No motion command results from an invalid, stale, frozen or missing input.
2. Stopping never creates a new goal, and needs no transform, image, model or server.
3. Nothing that arrives can end the node or keep it from stopping.
4. Recovery needs no restart.
5. What was written stays readable.

Each section below is a fault, and each row is a promise that a test in `tests/faults` checks. `make reliability` runs
these tests and writes this page, so do not edit it.

- **Promise**: the test's name. The test is `test_` and the promise with underscores.
- **Code**: the reason that the test checks: a `Code` of a hold, refusal or outcome ([planner.md](planner.md) and
  [ros.md](ros.md) explain them), or the exception that is raised. Empty: the test checks no code.
- **Recovers**: when the robot acts again once the fault has gone, for the tests that check it.
- **Result**: held, FAILED or skipped, and the number of cases of a promise that was checked for several inputs.

These tests run on the core and on parts of the ROS nodes, with simulated clocks and devices. Tests over real
ROS processes, with Nav2 and the watchdog, are in `tests/ros/` and are not listed here.

## Faults at random

`make chaos` injects these faults at random, alone and together, into the whole ROS stack, in processes of its own: both
simulated robots, planner and watchdog. A referee hears every command and sees the robot move. Unsafe is a goal or a
motion later than the table allows, a plan made from an image taken during the fault where the last column says so, a
goal out of bounds, and a velocity other than zero. Times are in seconds: from the beginning of the fault (of frozen
images, from the motion that shows them), and for a recovery from its end to the next plan or motion. They include
%s s for transport on a busy machine.

%s

`make soak` runs a simulated robot for an hour of its time at 30 images a second: memory, threads, file descriptors and
shared memory must not grow.
"""


@dataclass(frozen=True, slots=True)
class Promise:
    """One test function of a fault's file."""

    test: str  # the function's name
    code: str  # names of codes and exceptions, comma separated
    recovers: str

    @property
    def words(self) -> str:
        """The promise as a phrase: the test's name, with proper names spelled as usual."""
        words = self.test.removeprefix("test_").replace("_", " ")
        for name in NAMES:
            words = re.sub(rf"\b{re.sub('[^a-z0-9]+', ' ', name.lower())}\b", name, words)
        return words[0].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class Fault:
    """One file of tests/faults."""

    file: str  # its path from the root
    summary: str
    promises: tuple[Promise, ...]

    @property
    def title(self) -> str:
        """The file's name as a heading."""
        return Path(self.file).stem.removeprefix("test_").replace("_", " ").capitalize()


def faults() -> list[Fault]:
    """Every fault with its promises, in the order of the files. Runs and imports no test."""
    return [_fault(path) for path in sorted(FAULTS.glob("test_*.py"))]


def chaos_table() -> str:
    """The faults of tests/chaos and what the robot promises for each."""
    rows = ["| fault | no goal after | stands after | recovers within | no plan on its images |", "| --- " * 5 + "|"]
    for each in chaos.FAULTS:
        goal, stands = ("" if limit_s is None else f"{limit_s:.1f}" for limit_s in (each.no_goal_s, each.stands_s))
        rows.append(f"| {each.name} | {goal} | {stands} | {each.recovers_s:.0f} | {'yes' if each.no_plan else ''} |")
    return "\n".join(rows)


def document(results: Mapping[tuple[str, str], str]) -> str:
    """The page, given the results by file and test function."""
    parts = [INTRODUCTION % (chaos.SLACK_S, chaos_table())]
    for fault in faults():
        rows = [
            f"| {promise.words} | {promise.code} | {promise.recovers} "
            f"| {results.get((fault.file, promise.test), 'not run')} |"
            for promise in fault.promises
        ]
        heading = f"## {fault.title}\n\n{fault.summary} Tests: `{fault.file}`.\n"
        parts.append(
            "\n".join([heading, "| promise | code | recovers | result |", "| --- | --- | --- | --- |", *rows, ""])
        )
    return "\n".join(parts)


def listed(text: str) -> list[tuple[str, str]]:
    """The section and promise of each row of the page."""
    rows, section = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = "" if line == CHAOS else line.removeprefix("## ")
        elif section and line.startswith("| ") and line not in TABLE:
            rows.append((section, line.split(" | ")[0].removeprefix("| ")))
    return rows


def _fault(path: Path) -> Fault:
    module = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(module) or "").splitlines()[0].removeprefix("Fault: ")
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    file = str(path.relative_to(FAULTS.parents[1]))
    return Fault(file, summary[0].upper() + summary[1:], tuple(_promise(test) for test in tests))


def _promise(test: ast.FunctionDef) -> Promise:
    declared = {
        str(keyword.arg): ast.literal_eval(keyword.value)
        for decorator in test.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.promise"
        for keyword in decorator.keywords
    }
    code = declared.get("code", ", ".join(dict.fromkeys(_checked(test))))
    return Promise(test.name, code, declared.get("recovers", ""))


def _checked(test: ast.FunctionDef) -> Iterator[str]:
    """Names of the codes in the test's assertions and parameters, OK aside, and of the exceptions that it expects."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert | ast.withitem | ast.ExceptHandler) or node in test.decorator_list:
            for part in ast.walk(node):
                if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "Code" and part.attr != Code.OK.name:
                    yield part.attr
                if isinstance(part, ast.Name) and hasattr(errors, part.id) and node not in test.decorator_list:
                    yield part.id
