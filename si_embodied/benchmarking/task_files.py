"""The task files that make lmms-eval read local data or a part of the data, and the check that the data are there.

Each includes lmms-eval's own file, and so keeps its questions, prompts and scorer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from si_embodied.benchmarking.benchmarks import Task
from si_embodied.errors import ConfigError, DataError
from si_embodied.runs import write_text

_PREFIX, _CIRCULAR = "si_", "si_circular_"
_SUBSET = '''"""Written by `si-embodied benchmark spatial`; the task files of this folder call it."""

from pathlib import Path

from si_embodied.benchmarking.circular import circular
from si_embodied.benchmarking.subset import subset

FOLDER = Path(__file__).parent

'''
_FUNCTION = """
def {name}(documents):
    return {documents}
"""


def task_name(task: Task, data: Path | None, limit: int | None) -> str:
    """The task's name on lmms-eval's command line: its own, or that of our file for it."""
    return task.name if data is None and limit is None else f"{_PREFIX}{task.name}"


def circular_name(task: Task) -> str:
    """The name of the task that asks a task's questions once per rotation of their options."""
    return f"{_CIRCULAR}{task.name}"


def counts_file(task: Task) -> str:
    """The file in the folder of task files that says how many options each rotated question has."""
    return f"{_CIRCULAR}{task.name}.json"


def write_task_files(
    folder: Path,
    tasks: Iterable[Task],
    lmms_eval: Path,
    data: Path | None,
    limit: int | None,
    circular: Iterable[Task] = (),
) -> None:
    """Write a task file for each task whose data are local or limited, and one for each that is rotated.

    Args:
        folder: for the files; lmms-eval's `--include_path`.
        tasks: the tasks.
        lmms_eval: the folder of the installed package.
        data: the folder of the data sets; None: lmms-eval downloads them.
        limit: only so many questions.
        circular: the tasks whose questions are asked in every rotation too.

    Raises:
        ConfigError: the limit is below what a task's scorer needs.
    """
    functions: dict[str, str] = {}  # their bodies, by name
    for task in tasks:
        if limit is not None and limit < task.fewest:
            raise ConfigError(f"the scorer of {task.name} needs --limit of at least {task.fewest}, got: {limit}")
        if limit is not None:
            functions[task.name] = _documents(task, limit)
        name = task_name(task, data, limit)
        if name != task.name:
            _write(folder, name, task, lmms_eval, data, function=None if limit is None else task.name)
    for task in circular:
        name = circular_name(task)
        functions[name] = f"circular({_documents(task, limit)}, {task.name!r}, FOLDER / {counts_file(task)!r})"
        _write(folder, name, task, lmms_eval, data, function=name)
    texts = [_FUNCTION.format(name=name, documents=documents) for name, documents in functions.items()]
    write_text(folder / "subsets.py", _SUBSET + "".join(texts))


def _documents(task: Task, limit: int | None) -> str:
    """What a generated function asks: all of its documents, or the first in turn."""
    return "documents" if limit is None else f"subset(documents, {task.column!r}, {limit})"


def _write(folder: Path, name: str, task: Task, lmms_eval: Path, data: Path | None, *, function: str | None) -> None:
    """Write the file of one task, which takes its documents through a function of `subsets.py`."""
    settings: dict[str, object] = {"include": str(lmms_eval / "tasks" / task.file), "task": name}
    if data is not None:
        settings |= {"dataset_path": str(table_folder(data, task).absolute()), "dataset_kwargs": {}}
    text = yaml.safe_dump(settings, sort_keys=False)
    if function is not None:
        text += f"process_docs: !function subsets.{function}\n"
    write_text(folder / f"{name.removeprefix(_PREFIX)}.yaml", text)


def table_folder(data: Path, task: Task) -> Path:
    """Where a task's data set lies: DATA/OWNER/NAME."""
    return data / task.repository


def check_data(data: Path, tasks: Iterable[Task]) -> None:
    """Check that each task's data lie in the folder.

    Raises:
        DataError: something is missing or cut short; the message says how to get each part and where it must lie.
    """
    tasks = list(tasks)
    missing = [line for task in tasks for line in _missing(data, task)]
    if missing:
        raise DataError(f"data are missing in {str(data)!r}: {'; '.join(dict.fromkeys(missing))}")
    for task in tasks:
        for file in sorted(table_folder(data, task).rglob("*.parquet")):
            if not _is_whole(file):
                raise DataError(
                    f"{str(file)!r} is empty or cut short: it has not the marks at both ends of a Parquet file "
                    f"({file.stat().st_size} bytes); download it again from {task.repository}"
                )


def _is_whole(file: Path) -> bool:
    """Whether a Parquet file has its marks at both ends (parquet.apache.org, "File Format")."""
    with file.open("rb") as stream:
        first = stream.read(4)
        stream.seek(-min(4, file.stat().st_size), os.SEEK_END)
        return first == stream.read() == b"PAR1" and file.stat().st_size > 8


def _missing(data: Path, task: Task) -> Iterable[str]:
    folder = table_folder(data, task)
    if not any(folder.rglob("*.parquet")) and not any(folder.rglob("*.json*")):
        yield (
            f"{task.name} needs its questions in {folder}: "
            f"hf download {task.repository} --repo-type dataset --local-dir {folder}"
        )
    if task.media and not (data / task.media).is_dir():
        yield (
            f"{task.name} needs its images and videos in {data / task.media}: "
            f"unpack the archives of {task.repository} there"
        )
