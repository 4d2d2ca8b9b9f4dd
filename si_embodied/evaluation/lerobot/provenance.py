"""Where a data set's episodes come from, and what their columns cannot hold: `meta/si_embodied.jsonl`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from si_embodied.evaluation.records import episode_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.evaluation.lerobot.episodes import Source
    from si_embodied.evaluation.page.reading import StoredRun
    from si_embodied.evaluation.steps import EpisodeSteps


def run_row(run: StoredRun, number: int) -> Mapping[str, Any]:
    """The line for a run."""
    return {"type": "run", "run": number, "settings": run.settings, "versions": run.versions}


def episode_row(source: Source, steps: EpisodeSteps, *, number: int, run: int) -> Mapping[str, Any]:
    """The line for an episode: as in its run's records, with its plans and what its steps have in common."""
    return {
        **episode_to_json(source.result),
        "episode_index": number,
        "run": run,
        "plans": [entry.plan for entry in source.result.plans],  # by `plan_index`
        "intrinsics": {name: dataclasses.asdict(each) for name, each in steps.cameras.items()},
        "skills": list(steps.skills),
    }


def run_words(run: StoredRun) -> str:
    """A run in words."""
    about = run.about
    model = "" if about.model is None else f" with {about.model}"
    return f"{about.policy}{model} on {about.env} {about.task or ''}".strip()
