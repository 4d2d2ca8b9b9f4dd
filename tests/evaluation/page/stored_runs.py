"""Run folders in the real format, for tests of the page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult, GoalEntry, PlanEntry
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.trace import Floor, Still, Trace, TraceFolder
from si_embodied.types import Code, PlanRecord

NASTY = '<script>alert("x")</script> & \ud800'
GOTO = '{"subgoals":[{"skill":"goto","object":"chair","view":0,"point":[500,500]}],"done":false}'


def plan(code: Code = Code.OK, text: str = GOTO, pointed_at=None, total_s: float = 0.1) -> PlanEntry:
    latency = {"vision": 0.4 * total_s, "decode": 0.5 * total_s, "total": total_s}
    record = PlanRecord(
        0.0, "nav/v2", "si-nano", "sdpa", "float32", (text, NASTY), 300, 24, latency, code, f"because {NASTY}"
    )
    return PlanEntry(record, code is Code.OK, text, pointed_at)


def episode(seed: int, success: bool, *plans: PlanEntry, **metrics: float) -> EpisodeResult:
    goals = (GoalEntry(0, "goto chair", Code.OK if success else Code.UNREACHABLE, "no way"),) if plans else ()
    known = {"spl": 0.8 * success, "geodesic_distance": 2.0 + seed % 8, "distance_to_goal": 0.1, **metrics}
    return EpisodeResult(
        seed, "objectnav", f"find the chair {NASTY}", success, 40 + seed, "terminated", 20.0, 1.5, known, plans, goals
    )


def picture(rng: np.random.Generator, size: int = 192, quality: int = 68) -> bytes:
    """A JPEG as large as one of a rendered view."""
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(coarse, np.int16) + rng.integers(-6, 6, (size, size, 3)), 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(noisy).save(data, "JPEG", quality=quality)
    return data.getvalue()


def trace(seed: int, stills: int = 2) -> Trace:
    rng = np.random.default_rng(seed)
    free = np.ones((160, 200), bool)
    free[::40, :150] = free[:120, ::50] = False
    path = tuple((float(x), float(y)) for x, y in np.cumsum(rng.normal(0, 0.12, (120, 2)), axis=0) + 4.0)
    views = tuple(Still(7 * i, i, f"plan {i + 1}: goto chair {NASTY}", picture(rng)) for i in range(stills))
    return Trace(path, views, Floor(0.05, (0.0, 0.0), free, path[::9], (path[-1],)))


def write_run(
    folder: Path, episodes: list[EpisodeResult], *, suffix: str = "", stills: int | None = None, **settings
) -> Path:
    """A run as `Session` leaves it."""
    config = EvaluationConfig(
        **{"env": "si_embodied/Apartment-v0", "policy": "planner", "task": "objectnav", **settings}
    )
    records = RecordFile(
        folder / f"records{suffix}.jsonl", config.identity(), {"si-embodied": "0.1.0"}, lambda: {"processor": "a CPU"}
    )
    for each in episodes:
        records.add(each)
        if stills is not None:
            TraceFolder(folder / f"traces{suffix}").put(each.seed, trace(each.seed, stills))
    return folder
