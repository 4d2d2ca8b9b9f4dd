from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from rooms import room, write_recording, write_room

from si_embodied.envs.own.scan import ScanPlace

TURNS = 24


@pytest.fixture(scope="session")
def room_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_room(tmp_path_factory.mktemp("room") / "room.glb")


@pytest.fixture(scope="session")
def place(room_file: Path) -> Iterator[ScanPlace]:
    made = room(room_file)
    yield made
    made.close()


@pytest.fixture(scope="session")
def recording(place: ScanPlace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of a drive along the south wall in steps of 0.25 m, with a turn all around at both ends."""
    around = [2 * math.pi * k / TURNS for k in range(TURNS)]
    drive = [(1.0 + 0.25 * k, 1.0, 0.0) for k in range(1, 16)]
    poses = [*((1.0, 1.0, yaw) for yaw in around), *drive, *((5.0, 1.0, yaw) for yaw in around)]
    return write_recording(tmp_path_factory.mktemp("recording") / "images", place, poses)
