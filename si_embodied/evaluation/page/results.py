"""The results as JSON; `schema.json` here is its schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from si_embodied.evaluation.page.conditions import command, has_model, model_and_revision, seeds
from si_embodied.evaluation.page.groups import Group, Row
from si_embodied.evaluation.report import without_nan

FORMAT = "si-embodied results 1"


def results_json(groups: Sequence[Group]) -> dict[str, Any]:
    """Every run with its figures, failures and conditions, as JSON values."""
    return {"format": FORMAT, "runs": [_run(row) for group in groups for row in group.rows]}


def _run(row: Row) -> dict[str, Any]:
    report = row.report.to_json()
    del report["controls"], report["versions"]  # of this machine; the run's own follow
    versus = row.comparison
    paired = None if versus is None else {
        "episodes": versus.episodes,
        "first_alone": versus.paired.only_first,
        "this_alone": versus.paired.only_second,
        "mcnemar_p": versus.paired.p_value,
    }  # fmt: skip
    name, revision = model_and_revision(row) if has_model(row) else (None, None)
    plain: dict[str, Any] = without_nan({
        **report,
        "model": name,
        "revision": revision,
        "seeds": seeds(row),
        "compared_with_first_of_its_task": paired,
        "failures": dict(row.failures),
        "by_difficulty": [
            {"label": s.label, "episodes": s.episodes, "successes": s.successes, "wilson95": s.interval}
            for s in row.difficulty
        ],
        "machine": dict(row.run.machine),
        "versions": dict(row.run.versions),
        "command": command(row),
    })  # fmt: skip
    return plain
