"""A run's folder: the settings it was started with, files that are replaced atomically, and append-only JSON lines.

A command that was interrupted is repeated with the same settings and resumes after what its folder already holds.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError, RecordError, shown
from si_embodied.remedies import to_write

_LOG = logging.getLogger(__name__)

# --- atomic files ---------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file atomically: write to the path this yields, and it takes over `path` when the block succeeds.

    A reader sees the old file or the new one, never half of one. If the block raises, the old file is untouched.

    Raises:
        RecordError: the file cannot be written.
    """
    # The process ID keeps two processes that write the same file apart.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def share_weights(folder: Path) -> None:
    """Let whoever may read a checkpoint's config read its weights too.

    safetensors writes files for their owner alone (from 0.8 on), and a server is often a user of its own.
    """
    for file in folder.glob("*.safetensors"):
        file.chmod(next(folder.glob("*config.json")).stat().st_mode)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, creating its folder.

    Raises:
        RecordError: the file cannot be written.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, creating its folder.

    Raises:
        RecordError: the file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def cannot_write(path: Path, error: OSError) -> RecordError:
    """The error for a file or folder of a run that cannot be written, with what to do about it."""
    remedy = to_write(error)
    return RecordError(f"cannot write {str(path)!r}: {error.strerror or error}. {remedy[0].upper()}{remedy[1:]}")


# --- settings -------------------------------------------------------------------------------------------------------


def claim(file: Path, settings: Mapping[str, Any], *, may_change: Collection[str] = ()) -> None:
    """Write a new run's settings, or check that they match those of the run to resume.

    Args:
        file: where the run's settings are kept, in its folder.
        settings: everything that the run's results depend on, as JSON values.
        may_change: settings, or groups of them, that may differ when a run is resumed, such as `config.workers`.

    Raises:
        ConfigError: the run was started with other settings, or the file holds no settings.
        RecordError: the file cannot be written.
    """
    if not file.exists():
        write_json(file, settings)
        return
    try:
        started = json.loads(file.read_text(encoding="utf-8"))
        check_settings(file.parent, started, settings, may_change=may_change)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {str(file)!r}: {error.strerror or error}; choose another --out") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{str(file)!r} is not a run's settings ({error}); choose another --out") from error


def check_settings(where: Path, started: Any, now: Mapping[str, Any], *, may_change: Collection[str] = ()) -> None:
    """Check that a run is resumed with the settings it was started with.

    Raises:
        ConfigError: they differ; the message names each difference. Nested settings are named `planner.max_subgoals`.
    """
    if not isinstance(started, dict):
        raise ConfigError(f"{str(where)!r} holds no settings but {started!r}; choose another --out")
    before, after = flat_settings(started), flat_settings(json.loads(json.dumps(now)))
    differing = [
        f"{name} {before.get(name)!r}, now {after.get(name)!r}"
        for name in {**before, **after}
        if before.get(name) != after.get(name) and not any(f"{name}.".startswith(f"{free}.") for free in may_change)
    ]
    if differing:
        raise ConfigError(
            f"{str(where)!r} holds a run with other settings ({'; '.join(differing)}): "
            "repeat them to resume it, or choose another --out"
        )


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name: `planner.max_subgoals`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


OR_ELSEWHERE = ", or choose another --out"
"""A remedy for whoever writes to a broken file, and none for who reads it."""


def broken_line(path: Path, number: int, line: object, why: str, *, also: str = "") -> ConfigError:
    """The error for a line of a file, counted from 1, that cannot be read.

    Args:
        path: of the file.
        number: of the line.
        line: what it holds.
        why: it cannot be read.
        also: a further remedy (`OR_ELSEWHERE`).
    """
    return ConfigError(
        f"line {number} of {str(path)!r} is broken ({why}): {shown(line)}; repair or remove that line, or restore "
        f"the file from a copy{also}"
    )


# --- append-only JSON lines -----------------------------------------------------------------------------------------


class JsonLines:
    """An append-only file of JSON objects, one per line; nothing that was written to it is ever lost."""

    def __init__(self, path: Path) -> None:
        """Read the rows of an earlier run. A last line that a crash or a power cut left incomplete is dropped.

        Raises:
            ConfigError: the file is not made of JSON lines.
            RecordError: the file cannot be read or repaired.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.rows = self._read()
        except OSError as error:
            raise cannot_write(path, error) from error

    def restart(self, row: Mapping[str, Any]) -> None:
        """Replace everything by one row.

        Raises:
            RecordError: the file cannot be written.
        """
        write_text(self.path, json.dumps(row, allow_nan=False) + "\n")
        self.rows = [dict(row)]

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Append rows, all or none.

        Raises:
            RecordError: the disk is full or gone; earlier rows are intact.
        """
        data = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        try:
            # Opened anew for each append: a disk that comes back, or a folder that was moved, is noticed at once.
            with self.path.open("ab", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                try:
                    while data:
                        data = data[os.write(stream.fileno(), data) :]
                except OSError:
                    if size:
                        os.ftruncate(stream.fileno(), size)
                    raise
        except OSError as error:
            raise RecordError(
                f"{cannot_write(self.path, error)}; earlier lines are kept, so repeat the command to resume"
            ) from error

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows, end, torn = _parsed(self.path, also=OR_ELSEWHERE)
        if torn:
            _LOG.warning("%s: dropped its last line, which was cut short (%d bytes)", self.path, len(torn))
            os.truncate(self.path, end)
        return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the complete rows of a file of JSON lines and leave it as it is: its run may still be going on.

    Raises:
        ConfigError: the file cannot be read, or is not made of JSON lines.
    """
    try:
        return _parsed(path)[0]
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def _parsed(path: Path, *, also: str = "") -> tuple[list[dict[str, Any]], int, bytes]:
    """The complete rows, where they end, and the bytes behind them."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{str(path)!r} is not a regular file; remove it{also}")
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    torn = content[end:]
    lines = content[:end].split(b"\n")[:-1]
    rows = [_object(path, number, line, also) for number, line in enumerate(lines, 1)]
    # After a power cut, the end of a file may be zeros that were never written.
    if torn.strip(b"\0")[:1] not in (b"{", b""):
        raise broken_line(path, len(lines) + 1, _text(torn), "not a JSON object", also=also)
    return rows, end, torn


def _object(path: Path, number: int, line: bytes, also: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError, MemoryError) as error:
        raise broken_line(path, number, _text(line), _why(error), also=also) from error
    if not isinstance(row, dict):
        raise broken_line(path, number, _text(line), "not a JSON object", also=also)
    return row


def _why(error: Exception) -> str:
    """What is wrong with a line, without the line's own "line 1"."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _text(line: bytes) -> str:
    return line[:200].decode("utf-8", errors="replace")
