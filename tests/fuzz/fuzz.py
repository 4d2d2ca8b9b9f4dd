"""Fuzzes the targets with atheris, guided by the coverage of si_embodied; without atheris, with hypothesis.

`make fuzz` runs every target, a million inputs in all, and prints a table. The corpora grow in runs/fuzz/, where
findings are written too; `--keep` adds what covers more to tests/fuzz/corpus/, which `make test` runs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness import CORPUS

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "fuzz"
MOST_KEPT_BYTES, LARGEST_KEPT_BYTES = 6000, 1500
"""Of the inputs that `--keep` adds for each target, besides the seeds and what once failed."""
_LONGEST = 1 << 16


def main() -> int:
    """Fuzz, and print a line for each target."""
    options = _options()
    logging.disable(logging.CRITICAL)  # refusals are logged, a million of them here
    if options.child:
        return _child(options)
    from targets import TARGETS

    names = options.target or [name for name, each in TARGETS.items() if not each.missing]
    for name in (name for name in TARGETS if name not in names and not options.target):
        _say(f"{name}: skipped, because {TARGETS[name].missing} is not installed")
    total, findings, started_s = sum(TARGETS[name].weight for name in names), 0, time.monotonic()
    _say(f"{'target':<28}{'inputs':>9}{'kept':>7}{'findings':>10}{'seconds':>9}")
    done = 0
    for name in names:
        share = TARGETS[name].weight / total
        seconds = None if options.seconds is None else options.seconds * share
        result = _fuzz(name, round(options.inputs * share), seconds, options.seed)
        if options.keep:
            _keep(name)
        findings, done = findings + result.findings, done + result.inputs
        _say(f"{name:<28}{result.inputs:>9}{result.kept:>7}{result.findings:>10}{result.seconds:>9.0f}")
    _say(f"{'total':<28}{done:>9}{'':>7}{findings:>10}{time.monotonic() - started_s:>9.0f}")
    return 1 if findings else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--keep", action="store_true", help="add inputs that cover more to tests/fuzz/corpus")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--merge", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)  # of a process that libFuzzer starts itself
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# --- one target -----------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What fuzzing one target gave."""

    inputs: int = 0
    kept: int = 0  # in its corpus
    findings: int = 0  # different ones
    seconds: float = 0.0


def _fuzz(name: str, inputs: int, seconds: float | None, seed: int) -> Result:
    """Run a target in processes of its own; another one goes on if one dies."""
    folder, result, started_s = RUNS / name, Result(), time.monotonic()
    for each in ("corpus", "findings"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    before = set((folder / "findings").iterdir())
    while result.inputs < inputs:
        left = ["--inputs", str(inputs - result.inputs), "--seed", str(seed)]
        if seconds is not None:
            left += ["--seconds", str(max(1.0, seconds - (time.monotonic() - started_s)))]
        with (folder / "log.txt").open("ab") as log:
            begin = log.tell()
            child = subprocess.run([sys.executable, __file__, "--child", name, *left], stderr=log, stdout=log)
        words = (folder / "log.txt").read_bytes()[begin:].decode("utf-8", "replace")
        counts = [int(number) for number in re.findall(r"^(?:Done |#)(\d+)", words, re.MULTILINE)]
        result.inputs += max(counts, default=0)
        seed += 1
        if child.returncode == 0 or not counts or (seconds and time.monotonic() - started_s >= seconds):
            break
    if not result.inputs:
        raise SystemExit(f"{name} did not run; see {folder / 'log.txt'}")
    result.kept = len(list((folder / "corpus").iterdir()))
    result.findings = len(set((folder / "findings").iterdir()) - before)
    result.seconds = time.monotonic() - started_s
    return result


def _child(options: argparse.Namespace) -> int:
    """One process: fuzz a target, or merge its corpus."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("error")
    for category in (DeprecationWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    if importlib.util.find_spec("atheris") is None:
        return _with_hypothesis(options)
    import atheris

    with atheris.instrument_imports(include=["si_embodied"]):
        from targets import TARGETS

        target, folder = TARGETS[options.child], RUNS / options.child
        recorder = _Recorder(target, folder / "findings")
        for file in target.corpus():  # loads the modules that are imported on first use
            recorder(file.read_bytes())
    from mutation import mutated

    def mutate(data: bytes, longest: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.2:
            return bytes(atheris.Mutate(data, longest))
        return mutated(data, target.form, random, longest=longest)

    command = f"{sys.executable} {__file__} --child {target.name} --"
    limits = [f"-max_len={_LONGEST}", "-len_control=0", "-timeout=60", "-rss_limit_mb=2048"]
    limits += [f"-seed={options.seed}", f"-artifact_prefix={folder / 'findings'}/crash-"]
    limits += [] if options.seconds is None else [f"-max_total_time={int(options.seconds)}"]
    if options.merge:
        folders = ["-set_cover_merge=1", str(folder / "merged"), str(folder / "corpus")]
    else:
        folders = [f"-runs={options.inputs}", str(folder / "corpus"), str(CORPUS / options.child)]
    atheris.Setup([command, *(options.arguments or (*limits, *folders))], recorder, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


class _Recorder:
    """Runs inputs, and writes the first one of each finding to a file instead of ending the process."""

    def __init__(self, target: Any, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._seen = {file.name.rpartition("-")[0] for file in folder.iterdir()}

    def __call__(self, data: bytes) -> None:
        try:
            self._target.check(data)
        except Exception as error:
            name = _place(error)
            if name not in self._seen:
                self._seen.add(name)
                (self._folder / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}").write_bytes(data)
                sys.stderr.write("".join(traceback.format_exception(error, limit=-6)))


def _place(error: Exception) -> str:
    """What makes a finding the same as an earlier one: its type, and the last line of ours that it passed."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(str(ROOT))]
    last = frames[-1]
    return f"{type(error).__name__}-{Path(last.filename).stem}-{last.lineno}"


def _with_hypothesis(options: argparse.Namespace) -> int:
    """The same target and mutations, without guidance by coverage."""
    import hypothesis
    from inputs import inputs_of
    from targets import TARGETS

    target = TARGETS[options.child]
    recorder = _Recorder(target, RUNS / target.name / "findings")
    checks = list(hypothesis.HealthCheck)

    @hypothesis.seed(options.seed)
    @hypothesis.settings(max_examples=options.inputs, deadline=None, database=None, suppress_health_check=checks)
    @hypothesis.given(data=inputs_of(target))
    def run(data: bytes) -> None:
        recorder(data)

    run()
    sys.stderr.write(f"\nDone {options.inputs} runs\n")
    return 0


# --- the corpus in git ----------------------------------------------------------------------------------------------


def _keep(name: str) -> None:
    """Add the smallest inputs that cover what the kept ones do not."""
    merged, kept = RUNS / name / "merged", CORPUS / name
    merged.mkdir(exist_ok=True)
    for file in merged.iterdir():
        file.unlink()
    fixed = [file for file in kept.glob("*") if file.name.startswith(("seed-", "failed-"))]
    for file in kept.glob("found-*"):
        (RUNS / name / "corpus" / file.name).write_bytes(file.read_bytes())
        file.unlink()
    for file in fixed:
        (merged / file.name).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, __file__, "--child", name, "--merge"], check=True, capture_output=True)
    size = 0
    new = {file for file in merged.iterdir() if file.name not in {each.name for each in fixed}}
    for file in sorted(new, key=lambda each: (each.stat().st_size, each.name)):
        size += file.stat().st_size
        if size > MOST_KEPT_BYTES or file.stat().st_size > LARGEST_KEPT_BYTES:
            break
        (kept / f"found-{hashlib.sha256(file.read_bytes()).hexdigest()[:10]}").write_bytes(file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
