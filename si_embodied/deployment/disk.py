"""Room for recordings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from si_embodied.findings import Finding

RAW_BYTES_S = 640 * 480 * (3 + 2) * 30
"""One camera's colour and 16-bit depth at 640 x 480 and 30 Hz, uncompressed: more than any recording of it takes."""
LEAST_S = 10 * 60.0


def check_disk(folder: Path) -> Finding:
    """Judge the free space of the nearest existing folder above a path."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    usage = shutil.disk_usage(existing)
    if not os.access(existing, os.W_OK):
        fix = "give another folder with --recordings, or this user the right to write there"
        return Finding("disk", "off", f"this user may not write to {existing}", fix)
    return judge_disk(str(existing), usage.free, usage.total)


def judge_disk(folder: str, free: int, total: int) -> Finding:
    """Judge the free bytes by how long one camera could be recorded at the very least."""
    lasts_s = free / RAW_BYTES_S
    says = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free at {folder}: {lasts_s / 60:.0f} minutes of one raw camera"
    if lasts_s < LEAST_S:
        fix = f"free {(LEAST_S * RAW_BYTES_S - free) / 1e9:.0f} GB, or give another disk with --recordings"
        return Finding("disk", "off", f"{says}, compressed several times as long", fix)
    return Finding("disk", "fine", f"{says}, compressed several times as long")
