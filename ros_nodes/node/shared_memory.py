"""Keeps Fast DDS's shared memory out of a process that must go on when another one is killed.

A process killed with SIGKILL may die holding the lock of its shared-memory port. Whoever publishes to it then waits for
that lock: 1 s, the time-out built into Fast DDS, for each of the two or three ports (measured: up to 3 s, in about one
kill of ten on a busy machine). A watchdog that waits stops the robot too late. UDP has no such lock.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from rclpy.logging import get_logger
from rclpy.utilities import get_rmw_implementation_identifier

from si_embodied.ros_nodes.node.bringup import PROFILE_VARIABLE, config_file

BUILTIN_VARIABLE, RANGE_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS", "ROS_AUTOMATIC_DISCOVERY_RANGE"
_DESCRIPTOR = re.compile(r"<transport_descriptor>.*?</transport_descriptor>", re.DOTALL)
_ID = r"<transport_id>\s*{}\s*</transport_id>"


def without_shared_memory(profiles: str) -> str:
    """Fast DDS's XML profiles, with every shared-memory transport removed; unchanged if nothing else would remain."""
    descriptors: list[str] = _DESCRIPTOR.findall(profiles)
    shared = [each for each in descriptors if re.search(r"<type>\s*SHM\s*</type>", each)]
    if len(shared) == len(descriptors):
        return profiles
    for each in shared:
        profiles = profiles.replace(each, "")
        name = re.search(_ID.format(r"(\S+?)"), each)
        if name is not None:
            profiles = re.sub(_ID.format(re.escape(name[1])), "", profiles)
    return profiles


@contextmanager
def no_shared_memory(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Let the participants that are created in this block use UDP alone; the environment is restored afterwards.

    The discovery range LOCALHOST always adds shared memory, so config/fastdds.xml, which binds UDP to this machine,
    takes its place. Other middleware than Fast DDS is left alone.
    """
    if "fastrtps" not in get_rmw_implementation_identifier():
        yield
        return
    before, profile = dict(environment), environment.get(PROFILE_VARIABLE, "")
    if environment.get(RANGE_VARIABLE) == "LOCALHOST":
        environment[RANGE_VARIABLE] = "SUBNET"
        profile = profile or str(config_file("fastdds.xml"))
    environment.setdefault(BUILTIN_VARIABLE, "UDPv4")
    file = _file_without_shared_memory(profile) if profile and Path(profile).is_file() else None
    if profile:
        environment[PROFILE_VARIABLE] = profile if file is None else str(file)
    try:
        yield
    finally:
        environment.clear()
        environment.update(before)
        if file is not None:
            file.unlink(missing_ok=True)


def _file_without_shared_memory(profile: str) -> Path | None:
    """A temporary copy of a profile without shared memory; None, and an error in the log, if it cannot be written."""
    file = None
    try:
        text = without_shared_memory(Path(profile).read_text(encoding="utf-8"))
        handle, name = tempfile.mkstemp(suffix=".xml")
        file = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{error}; using {profile!r} as it is: a process that is killed may hold this one up for 3 s"
        get_logger("shared_memory").error(f"cannot write a Fast DDS profile without shared memory: {reason}")
        if file is not None:
            file.unlink(missing_ok=True)
        return None
    return file
