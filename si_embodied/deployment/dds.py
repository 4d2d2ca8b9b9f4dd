"""DDS: middleware, Fast DDS's profile, shared memory and socket buffers. Images are larger than the defaults."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from si_embodied.deployment.machine import Machine
from si_embodied.findings import Finding

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
_OLD_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
IMAGE_BYTES = 1280 * 720 * 3
LEAST_BUFFER_BYTES = 4 << 20
"""Holds one raw 1280 x 720 image; Linux's default of 212,992 bytes holds a quarter of a 640 x 480 one."""
_LEAST_SHARED_BYTES = 64 << 20
"""A segment of 16 MB for each of a planner, a recorder, a camera's driver and its viewer."""


def segment_bytes(profile: str) -> int | None:
    """Size of the shared-memory segment in a Fast DDS profile; None if it has no shared memory of its own."""
    for descriptor in re.findall(r"<transport_descriptor>.*?</transport_descriptor>", profile, re.DOTALL):
        if re.search(r"<type>\s*SHM\s*</type>", descriptor):
            size = re.search(r"<segment_size>\s*(\d+)\s*</segment_size>", descriptor)
            return int(size[1]) if size else None
    return None


def check_dds(machine: Machine, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge what the nodes of this environment would use."""
    shared = _profile(environment)
    yield shared
    yield _shared_memory(machine)
    yield _buffers(machine, needed=shared.verdict != "fine")


def _profile(environment: Mapping[str, str]) -> Finding:
    middleware = environment.get("RMW_IMPLEMENTATION", "")
    if middleware and "fastrtps" not in middleware:
        return Finding("DDS profile", "note", f"{middleware}: its own settings are not looked at")
    fix = f"export {PROFILE}=…/share/si_embodied/config/fastdds.xml for every process of the robot (docs/ros.md)"
    path = environment.get(PROFILE) or environment.get(_OLD_PROFILE)
    if not path:
        return Finding("DDS profile", "off", f"{PROFILE} is not set: Fast DDS loses most images between processes", fix)
    try:
        size = segment_bytes(Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        return Finding("DDS profile", "off", f"{path} cannot be read: {error.strerror}", fix)
    if size is None or size < IMAGE_BYTES:
        held = "names no size of shared memory" if size is None else f"has {size / 1e6:.1f} MB of shared memory"
        return Finding("DDS profile", "off", f"{path} {held}; a 1280x720 image needs {IMAGE_BYTES / 1e6:.1f} MB", fix)
    return Finding("DDS profile", "fine", f"{path}: {size / 1e6:.1f} MB of shared memory for each process")


def _shared_memory(machine: Machine) -> Finding:
    try:
        free = shutil.disk_usage(machine.root / "dev/shm").free
    except OSError:
        return Finding("shared memory", "unknown", "there is no /dev/shm", "mount it; in a container: --ipc host")
    says = f"{free / 1e6:.0f} MB free in /dev/shm"
    if free < _LEAST_SHARED_BYTES:
        return Finding("shared memory", "off", says, "in a container: --ipc host, or --shm-size 1g")
    return Finding("shared memory", "fine", says)


def _buffers(machine: Machine, *, needed: bool) -> Finding:
    text = machine.text("proc/sys/net/core/rmem_max") or ""
    if not text.isdecimal():
        return Finding(
            "socket buffers", "unknown", "/proc/sys/net/core/rmem_max tells nothing", "sysctl net.core.rmem_max"
        )
    says = f"net.core.rmem_max is {int(text):,} bytes"
    if int(text) >= LEAST_BUFFER_BYTES:
        return Finding("socket buffers", "fine", says)
    fix = "install deploy/sysctl/60-si-embodied.conf, or sysctl -w net.core.rmem_max=16777216"
    if needed:
        return Finding("socket buffers", "off", f"{says}: less than one image", fix)
    return Finding("socket buffers", "note", f"{says}, which only matters for images from another machine", fix)
