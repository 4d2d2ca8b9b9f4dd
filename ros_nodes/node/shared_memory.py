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
    with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as file:
        if profile and Path(profile).is_file():
            file.write(without_shared_memory(Path(profile).read_text(encoding="utf-8")))
            file.flush()
            environment[PROFILE_VARIABLE] = file.name
        try:
            yield
        finally:
            environment.clear()
            environment.update(before)
