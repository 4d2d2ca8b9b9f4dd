"""What a person can do about a file that cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Mapping

_REMEDIES: Mapping[int, str] = {
    errno.EEXIST: "a part of that path is a file where a folder is needed: {elsewhere}",
    errno.ENOTDIR: "a part of that path is a file where a folder is needed: {elsewhere}",
    errno.EISDIR: "there is a folder of that name: remove it or {elsewhere}",
    errno.EACCES: "this user may not write there: change the permissions (chmod, chown) or {elsewhere}",
    errno.EPERM: "this user may not write there: change the permissions (chmod, chown) or {elsewhere}",
    errno.EROFS: "nobody may write to that disk: mount it anew or {elsewhere}",
    errno.ENOENT: "a folder of that path is gone: make it again or {elsewhere}",
    errno.ENAMETOOLONG: "{elsewhere}",
    errno.ELOOP: "{elsewhere}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def to_write(error: BaseException, elsewhere: str = "choose another --out") -> str:
    """What a person can do so that a file can be written.

    Args:
        error: why it could not be, from the operating system or from a library.
        elsewhere: how to write to another place.
    """
    reason = error.errno if isinstance(error, OSError) else None
    return _REMEDIES.get(reason or 0, "free some space or {elsewhere}").format(elsewhere=elsewhere)
