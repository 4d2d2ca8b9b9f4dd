"""What an episode looked like, for its report: a few views with the plan drawn in, and the robot's path from above.

One small file an episode (`traces/seed-000012.json`, about 20 kB), so that a long run is neither kept in memory nor
lost with one damaged file. Figures never depend on it.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.runs import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Still:
    """One view of the film strip."""

    step: int  # before which it was seen
    plan: int | None  # index of the plan that is drawn in
    caption: str
    jpeg: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """The map from above."""

    resolution_m: float  # cell size
    origin_m: tuple[float, float]  # map xy of the outer corner of cell [0, 0]
    free: NDArray[np.bool_]  # (rows along y, columns along x)
    shortest_path_m: tuple[tuple[float, float], ...]
    goals_m: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one episode looked like."""

    path_m: tuple[tuple[float, float], ...]  # the base in the map; empty if it does not drive
    stills: tuple[Still, ...]
    floor: Floor | None


@dataclass(frozen=True, slots=True)
class TraceFolder:
    """The traces of a run."""

    folder: Path

    def put(self, seed: int, trace: Trace) -> None:
        """Write the trace of an episode.

        Raises:
            RecordError: the file cannot be written.
        """
        write_text(self._file(seed), json.dumps(trace_to_json(trace), separators=(",", ":")))

    def get(self, seed: int) -> Trace | None:
        """The trace of an episode; None if there is none that can be read."""
        try:
            return trace_from_json(json.loads(self._file(seed).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None  # a report does without a picture

    def _file(self, seed: int) -> Path:
        return self.folder / f"seed-{seed:06d}.json"


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """As JSON values; positions in centimetres' precision."""
    stills = [
        {"step": s.step, "plan": s.plan, "caption": s.caption, "jpeg": base64.b64encode(s.jpeg).decode()}
        for s in trace.stills
    ]
    floor = None if trace.floor is None else _floor_to_json(trace.floor)
    return {"format": FORMAT, "path_m": _rounded(trace.path_m), "stills": stills, "floor": floor}


def trace_from_json(row: Mapping[str, Any]) -> Trace:
    """The inverse of `trace_to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is not a trace.
    """
    stills = tuple(
        Still(int(s["step"]), s["plan"], str(s["caption"]), base64.b64decode(s["jpeg"])) for s in row["stills"]
    )
    floor = None if row["floor"] is None else _floor_from_json(row["floor"])
    return Trace(_points(row["path_m"]), stills, floor)


def _floor_to_json(floor: Floor) -> dict[str, Any]:
    return {
        "resolution_m": floor.resolution_m,
        "origin_m": list(floor.origin_m),
        "free_png": base64.b64encode(mask_png(floor.free)).decode(),
        "shortest_path_m": _rounded(floor.shortest_path_m),
        "goals_m": _rounded(floor.goals_m),
    }


def _floor_from_json(row: Mapping[str, Any]) -> Floor:
    with extra("sim"):
        from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(io.BytesIO(base64.b64decode(row["free_png"])), formats=("PNG",)) as image:
            free = np.array(image.convert("1"), bool)
    except (UnidentifiedImageError, OSError, binascii.Error) as error:
        raise ValueError(f"not a map: {error}") from error
    ((origin_x, origin_y),) = _points([row["origin_m"]])
    paths = _points(row["shortest_path_m"]), _points(row["goals_m"])
    return Floor(float(row["resolution_m"]), (origin_x, origin_y), free, *paths)


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """A mask (rows, columns) as a PNG with one bit a pixel."""
    with extra("sim"):
        from PIL import Image
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask)).save(data, "PNG", optimize=True)
    return data.getvalue()


def _rounded(points: tuple[tuple[float, float], ...]) -> list[list[float]]:
    return [[round(x, 2), round(y, 2)] for x, y in points]


def _points(values: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in values)
