"""Runs lmms-eval in its environment, and reads the files it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.benchmarking.answering import Engine
from si_embodied.benchmarking.environment import package_folder
from si_embodied.benchmarking.plugin import MODEL_ID
from si_embodied.errors import ConfigError, EvaluationError, RecordError

_LOG_FILE, _ENGINE_SETTINGS, _REPORTS = "lmms-eval.log", "engine-settings.json", "lmms-eval"
ANSWERS_FILE = "answers.jsonl"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"(\w+\.)*\w*(Error|Exception|Invalid)\w*: .")
_HIDING = ("tenacity.RetryError", "datasets.exceptions.DatasetGenerationError")
"""Exceptions that lmms-eval raises from the one that has the reason."""
_MOST_WORDS = 500


@dataclass(frozen=True, slots=True)
class Scored:
    """What lmms-eval says about one task."""

    metrics: Mapping[str, Any]  # as in its results file: `overall_accuracy,none` and the like
    samples: Sequence[Mapping[str, Any]]  # one per question

    def metric(self, name: str) -> float:
        """A metric's value.

        Raises:
            RecordError: there is no such metric.
        """
        try:
            return float(self.metrics[f"{name},none"])
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"lmms-eval's results have no {name!r} but {sorted(self.metrics)}") from error


@dataclass(frozen=True, slots=True)
class Harness:
    """lmms-eval, as it is started for one folder of results."""

    python: Path
    task_files: Path
    data: Path | None
    batch: int

    def package(self) -> Path:
        """The folder of the package in its environment.

        Raises:
            ConfigError: it is not there.
        """
        environment = self.python.parents[1]
        folder = package_folder(environment)
        if folder is None:
            raise ConfigError(f"lmms-eval is not installed in {str(environment)!r}: remove that folder, and repeat")
        return folder

    def run(self, engine: Engine, tasks: Sequence[str], folder: Path) -> dict[str, Scored]:
        """Ask and score some tasks; what was answered before is not asked again. Returns the scores by task.

        Raises:
            EvaluationError: lmms-eval failed; its log has the reason, and earlier answers are kept.
        """
        folder = folder.absolute()
        settings = engine.write(folder / _ENGINE_SETTINGS)
        command = [
            str(self.python), "-m", "lmms_eval", "--model", MODEL_ID, "--model_args", f"settings={settings}",
            "--tasks", ",".join(tasks), "--include_path", str(self.task_files.absolute()),
            "--batch_size", str(self.batch), "--output_path", str(folder / _REPORTS), "--log_samples",
            # One after another: SITE-Bench guesses at random where it finds no answer, from one seed.
            "--process_docs_parallel", "1",
        ]  # fmt: skip
        log, before = log_file(folder), _results(folder)
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(command, stdout=stream, stderr=stream, env=self._variables(), cwd=folder, check=False)
        new = sorted(_results(folder) - before)
        if done.returncode or not new:
            raise EvaluationError(
                f"lmms-eval failed: {last_words(log.read_text(encoding='utf-8', errors='replace'))} (its code is "
                f"{done.returncode}, its log is {log}); mend that, and repeat the command: it continues after the last "
                "answer"
            )
        return {task: _scored(new[-1], task) for task in tasks}

    def _variables(self) -> dict[str, str]:
        """Its environment variables: local data are looked for in their folder, and never on the hub."""
        variables = dict(os.environ)
        if self.data is not None:
            variables["HF_DATASETS_CACHE"] = str((self.task_files.parent / "datasets").absolute())
            offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
            variables |= {"HF_HOME": str(self.data.absolute()), **offline}
        return variables


def log_file(folder: Path) -> Path:
    """The log of lmms-eval in a folder of results."""
    return folder / _LOG_FILE


def _results(folder: Path) -> set[Path]:
    return set((folder / _REPORTS).rglob("[0-9]*_results.json"))


def _scored(results: Path, task: str) -> Scored:
    """One task's part of the results, with its samples beside them."""
    try:
        metrics = json.loads(results.read_text(encoding="utf-8"))["results"][task]
        stamp = results.name.removesuffix("_results.json")
        lines = results.with_name(f"{stamp}_samples_{task}.jsonl").read_text(encoding="utf-8").splitlines()
        return Scored(metrics, [json.loads(line) for line in lines if line])
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"lmms-eval's results in {str(results)!r} lack {task!r} ({error!r}): run it again") from error


def last_words(log: str) -> str:
    """Why lmms-eval failed, by its log: the last exception that says something, or else the last line."""
    lines = [line.strip() for line in _COLOUR.sub("", log).splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line) and not line.startswith(_HIDING)]
    return next(iter(raised[-1:] or lines[-1:]), "without a word")[:_MOST_WORDS]
