"""One run at a time writes into a folder: two would mix their records, and each would delete what the other made."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from si_embodied.errors import ConfigError, RecordError
from si_embodied.runs import cannot_write

_LOG = logging.getLogger(__name__)

LOCK = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path, *, option: str = "--out") -> Iterator[None]:
    """Keep other runs out of a folder during the block; whoever only reads needs no lock.

    The kernel holds the lock for as long as this process has its file open, so that it ends with a process that is
    killed, and the file that then remains keeps nobody out.

    Args:
        folder: of the run; it is created.
        option: of the command line, by which another folder is chosen.

    Raises:
        ConfigError: another run writes into the folder.
        RecordError: the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked_file(path, option)
    except RecordError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the lock is released: a file that another run has locked must stay
        os.close(descriptor)


def _locked_file(path: Path, option: str) -> int:
    """The descriptor of the lock's file, with the lock on it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # Python's descriptors are not inherited
        try:
            if _take(descriptor, path, option):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _take(descriptor: int, path: Path, option: str) -> bool:
    """Lock the file; False if the run that held it removed it meanwhile, so that the lock would keep nobody out."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            _LOG.warning("%s: this file system has no locks; start no second run in this folder", path.parent)
            return True
        if error.errno not in _HELD:
            raise
        holder = os.read(descriptor, 200).decode("utf-8", errors="replace") or "another process"
        raise ConfigError(
            f"another run is writing into {str(path.parent)!r} ({holder}): wait for its end, or choose another {option}"
        ) from error
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
