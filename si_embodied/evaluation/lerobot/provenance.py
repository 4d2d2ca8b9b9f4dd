"""Where a data set's episodes come from, and what their columns cannot hold: `meta/si_embodied.jsonl`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from si_embodied.evaluation.records import episode_to_json

if TYPE_CHECKING:
    from si_embodied.evaluation.lerobot.episodes import Source
    from si_embodied.evaluation.page.reading import StoredRun


def provenance(runs: Sequence[StoredRun], sources: Sequence[Source]) -> str:
    """A line for each run, then one for each episode, in JSON."""
    rows: list[dict[str, Any]] = [
        {"type": "run", "run": number, "settings": run.settings, "versions": run.versions}
        for number, run in enumerate(runs)
    ]
    for number, source in enumerate(sources):
        steps, recorded = source.steps(), episode_to_json(source.result)
        cameras = {name: dataclasses.asdict(each) for name, each in steps.cameras.items()}
        rows.append({
            **recorded,
            "episode_index": number,
            "run": runs.index(source.run),
            "plans": [entry.plan for entry in source.result.plans],  # by `plan_index`
            "intrinsics": cameras,
            "skills": list(steps.skills),
        })  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def run_words(run: StoredRun) -> str:
    """A run in words."""
    about = run.about
    model = "" if about.model is None else f" with {about.model}"
    return f"{about.policy}{model} on {about.env} {about.task or ''}".strip()
