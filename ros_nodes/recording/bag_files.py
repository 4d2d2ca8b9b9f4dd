"""The messages of a `ros2 bag` recording: MCAP or SQLite, split or not, compressed or not, finished or not.

A recording stays readable after kill -9, a full disk or an aborted copy: what is there is read, and what is known to
be lost is reported in seconds. `metadata.yaml` is used where it is there, of every version from Foxy on.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from si_embodied.errors import DataError, extra
from si_embodied.ros_nodes.recording.mcap_records import MAX_MESSAGE_BYTES, Damage, Raw, Wanted, read_mcap

SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")


class BagFiles:
    """A recording on disk: a folder, or one of its files."""

    def __init__(self, path: Path) -> None:
        """Find the files.

        Raises:
            DataError: there is no recording at the path.
        """
        self._path = path
        self.damage = Damage()  # found by the last pass over the messages
        try:
            self._information = _information(path / "metadata.yaml") if path.is_dir() else {}
            self._files = self._found()
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        if not self._files:
            raise self._unreadable("expected a folder with .mcap or .db3 files, or one such file")

    def messages(self, wanted: Wanted) -> Iterator[Raw]:
        """The wanted messages, file by file.

        Raises:
            DataError: no file can be read at all.
        """
        self.damage = Damage(end_ns=_end_ns(self._information))
        listed = self._information.get("relative_file_paths")
        names = [Path(str(each)).name for each in listed] if isinstance(listed, list) else []
        present = {file.name for file in self._files}
        self.damage.reasons += [f"{name} is missing" for name in names if name not in present]
        errors = []
        for file in self._files:
            try:
                yield from self._messages_of(file, wanted)
            except DataError as error:
                errors.append(error)
                self.damage.reasons.append(f"{file.name} cannot be read")
        if len(errors) == len(self._files):
            raise errors[0]

    def _messages_of(self, file: Path, wanted: Wanted) -> Iterator[Raw]:
        if file.suffix == ".zstd":
            with tempfile.TemporaryDirectory() as folder:
                yield from self._messages_of(self._unpacked(file, Path(folder) / file.stem), wanted)
        elif file.suffix == ".mcap":
            yield from read_mcap(file, wanted, self.damage)
        else:
            compressed = str(self._information.get("compression_mode", "")).upper() == "MESSAGE"
            yield from _read_sqlite(file, wanted, self.damage, compressed=compressed)

    def _found(self) -> list[Path]:
        """The recording's files in order: part 10 comes after part 9."""
        if self._path.is_dir():
            files = [file for file in self._path.iterdir() if file.name.endswith(SUFFIXES) and file.is_file()]
        else:
            files = [self._path] if self._path.name.endswith(SUFFIXES) and self._path.is_file() else []
        parts = {file: re.split(r"(\d+)", file.name) for file in files}
        return sorted(
            files, key=lambda file: [(int(part), "") if part.isdecimal() else (0, part) for part in parts[file]]
        )

    def _unpacked(self, file: Path, to: Path) -> Path:
        with extra("bags"):
            import zstandard
        try:
            with file.open("rb") as packed, to.open("wb") as plain:
                try:
                    zstandard.ZstdDecompressor().copy_stream(packed, plain)
                except zstandard.ZstdError as error:
                    self.damage.reasons.append(f"{file.name} is damaged ({error})")
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        return to

    def _unreadable(self, why: str) -> DataError:
        return DataError(f"{str(self._path)!r} cannot be read as a recording: {why}")


def _read_sqlite(file: Path, wanted: Wanted, damage: Damage, *, compressed: bool) -> Iterator[Raw]:
    """The wanted messages of a SQLite file, in the order in which they were recorded."""
    # Immutable: no lock, no journal and no write permission are needed; a write-ahead log would then be overlooked.
    log = file.with_name(f"{file.name}-wal").exists()
    uri = f"file:{urllib.parse.quote(str(file.resolve()))}?mode=ro{'' if log else '&immutable=1'}"
    read = False
    try:
        connection = sqlite3.connect(uri, uri=True)
        try:
            connection.execute("PRAGMA writable_schema=ON")  # else a file that was cut is refused as a whole
            connection.set_authorizer(_only_tables)
            topics = {
                number: (str(name), str(kind))
                for number, name, kind, encoding in connection.execute(
                    "SELECT id, name, type, serialization_format FROM topics"
                )
                if encoding == "cdr" and wanted(str(name), str(kind))
            }
            for number, stamp_ns, data in connection.execute(
                "SELECT topic_id, timestamp, data FROM messages WHERE length(data) <= ? ORDER BY id",
                (MAX_MESSAGE_BYTES,),
            ):
                read = True
                damage.last_ns = max(damage.last_ns, int(stamp_ns))
                if number in topics and isinstance(data, bytes):
                    yield (*topics[number], int(stamp_ns), _message_data(data) if compressed else data)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, TypeError, OverflowError, MemoryError) as error:
        if not read:
            raise DataError(f"{str(file)!r} cannot be read as a recording: {error}") from error
        damage.reasons.append(f"{file.name} is damaged ({error})")


def _only_tables(action: int, _: str | None, function: str | None, __: str | None, view: str | None) -> int:
    """SQLite's authorizer. A view, or a function in it, could run for ever or fill the memory."""
    reads = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) or function == "length"
    return sqlite3.SQLITE_OK if reads and view is None else sqlite3.SQLITE_DENY


def _message_data(data: bytes) -> bytes:
    """A message of a bag that compresses each one; a damaged one becomes empty, for the decoder to reject."""
    with extra("bags"):
        import zstandard
    try:
        return bytes(zstandard.ZstdDecompressor().stream_reader(data).read(MAX_MESSAGE_BYTES))
    except zstandard.ZstdError:
        return b""


def _information(file: Path) -> dict[str, Any]:
    """The contents of a metadata.yaml; empty if it is missing or damaged."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = content["rosbag2_bagfile_information"]
    except Exception:  # noqa: BLE001 - PyYAML passes on whatever fails in its constructors
        return {}
    return found if isinstance(found, dict) else {}


def _end_ns(information: dict[str, Any]) -> int:
    """When a finished recording ended, by its metadata; 0 if unknown."""
    try:
        starting, duration = information["starting_time"], information["duration"]
        end_ns = int(starting["nanoseconds_since_epoch"]) + int(duration["nanoseconds"])
    except (LookupError, TypeError, ValueError, OverflowError):
        return 0
    return end_ns if 0 <= end_ns < 1 << 64 else 0
