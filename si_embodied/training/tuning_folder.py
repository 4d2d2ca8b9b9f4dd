"""The folder of a tuning run: its settings, its log, its checkpoints to resume from, and failures to write it."""

from __future__ import annotations

import json
import math
import os
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from si_embodied.errors import BackendError, ConfigError, RecordError, extra
from si_embodied.remedies import to_write
from si_embodied.run_lock import LOCK, locked
from si_embodied.runs import claim

with extra("train"):
    import torch
    from safetensors import SafetensorError
    from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from si_embodied.training.tuning_settings import TuningSettings

    Report = Callable[[int, int, float], None]  # a step's number, the number of steps, the step's loss

RUN_FILE, LOG_FILE, CHECKPOINTS = "run.json", "log.jsonl", "checkpoints"
STATE_FILE = "trainer_state.json"
"""The file that the Trainer writes last into a checkpoint."""
_MAY_CHANGE = ("config.save_every", "config.workers")  # when a run is resumed


def open_run(out: Path, settings: TuningSettings, *, resume: bool) -> Path | None:
    """Start a run's folder, or find the checkpoint to resume from; None if there is none yet."""
    file = out / RUN_FILE
    if not resume and out.exists() and (not out.is_dir() or any(each.name != LOCK for each in out.iterdir())):
        raise ConfigError(f"{out} is not empty: give a new folder, or --resume to resume the run in it")
    if resume and not file.is_file():
        raise ConfigError(f"there is no run in {out} to resume: start it without --resume")
    claim(file, asdict(settings), may_change=_MAY_CHANGE)
    return last_checkpoint(out)


def last_checkpoint(out: Path) -> Path | None:
    """The last checkpoint that was written completely."""
    found = {
        int(path.name.partition("-")[2]): path
        for path in (out / CHECKPOINTS).glob("checkpoint-*")
        if path.name.partition("-")[2].isdecimal() and _is_whole(path)
    }
    return found[max(found)] if found else None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely."""
    try:
        json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Keep other runs out of a run's folder; of several processes, the first, which writes it, holds the lock.

    Raises:
        ConfigError: another run writes into the folder.
        RecordError: the folder cannot be written.
    """
    first = os.environ.get("RANK", "0") == "0"  # set by torchrun
    with locked(out) if first else nullcontext():
        yield


@contextmanager
def own_errors(out: Path) -> Iterator[None]:
    """Turn failures of the disk and the device into our own errors."""
    try:
        yield
    except RecordError:
        raise
    except torch.OutOfMemoryError as error:
        raise BackendError(
            "out of memory: give less to one pass (--batch-size of train lora, --pack-tokens of train full), or "
            f"--gradient-checkpointing ({error})"
        ) from error
    except (OSError, SafetensorError) as error:
        raise cannot_write(out, error) from error


def cannot_write(out: Path, error: Exception) -> RecordError:
    """The error of a run whose folder cannot be written."""
    return RecordError(f"cannot write the run to {str(out)!r} ({error}): {to_write(error)}; --resume continues it")


class StepLog(TrainerCallback):  # type: ignore[misc]  # transformers' types are not read
    """Logs one line per step, and stops a run whose loss is not finite."""

    def __init__(self, file: Path, report: Report) -> None:
        self._file, self._report = file, report

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the lines up to the checkpoint; the steps after it are repeated."""
        kept = [entry for entry in state.log_history if "loss" in entry]
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Append a line."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**logs, "step": state.global_step}) + "\n")
        if not math.isfinite(loss):
            raise BackendError(f"the loss is {loss} at step {state.global_step}: lower the learning rate")
        self._report(state.global_step, state.max_steps, loss)
