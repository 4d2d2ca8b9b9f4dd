"""`si-embodied plan`: plan once, from an episode's first observation or from files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc
from tyro.conf import create_mutex_group

from si_embodied.backends.config import BackendConfig
from si_embodied.cli.options import Model, PrintJson
from si_embodied.cli.output import print_properties, say
from si_embodied.cli.parsing import IMAGE_SIZE, flags
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.observation_files import ObservationFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.types import Decision, Task

_CAMERA = create_mutex_group(required=False, title="camera of the image")


@dataclass(frozen=True, slots=True)
class Plan:
    """Show one observation to the planner.

    Prints the plan, the goal or refusal that becomes of it, and where the time went. The observation is the first of an
    episode (--env, --task, --seed) or comes from files (--rgb).
    """

    model: Model
    episode: Annotated[EvaluationConfig, flags("env", "task", "seed", "action_mode", image_size=IMAGE_SIZE)] = (
        EvaluationConfig(env="", policy="planner")
    )
    files: Annotated[
        ObservationFiles,
        flags(
            "rgb", "depth", "instruction", "kind", "camera_height", "camera_tilt",
            intrinsics=("FX,FY,CX,CY", _CAMERA), fov=_CAMERA,
        ),
    ] = ObservationFiles()  # fmt: skip
    answer: Annotated[str | None, Doc("take this as the model's answer, and load no model")] = None
    json: PrintJson = False

    def run(self) -> int:
        """Plan once and print it; the exit code is 0 also for a hold, which is an answer."""
        from si_embodied.backends.opening import open_planner
        from si_embodied.evaluation.episode import plan_entry
        from si_embodied.evaluation.records import goals_to_json, plan_to_json
        from si_embodied.evaluation.registry import first_observation
        from si_embodied.memory import Memory

        if bool(self.episode.env) == (self.files.rgb is not None):
            raise ConfigError("expected either --env ID or --rgb FILE: an observation from an episode or from files")
        task, observation, embodiment = first_observation(self.episode) if self.episode.env else self.files.scene()
        backend = self.model.local if self.answer is None else BackendConfig("scripted", script=(self.answer,))
        planner = open_planner(backend, embodiment, self.model.planner_config())
        decision = planner.plan(task, observation, Memory.for_planner(planner.config, task.kind))
        if self.json:
            record = plan_to_json(plan_entry(decision), self.episode.seed, 0)
            say(json.dumps({"instruction": task.instruction, "goals": goals_to_json(decision), **record}))
        else:
            print_properties(_rows(task, decision))
        return 0


def _rows(task: Task, decision: Decision) -> Iterator[tuple[str, str]]:
    from rich.markup import escape

    from si_embodied.types import Execute

    record = decision.record
    yield "instruction", escape(task.instruction)
    if any(record.thoughts):
        yield "thoughts", escape("\n".join(record.thoughts))
    yield "answer", escape("\n".join(record.raw_text)) or "none"
    if isinstance(decision, Execute):
        yield from (("goal", escape(goal.words)) for goal in decision.goals)
    else:
        yield "hold", f"[red]{decision.code.name} ({int(decision.code)}): {escape(decision.message)}"
    yield "model", f"{record.model}, {record.kernel}, {record.dtype}; prompt {record.prompt_version}"
    yield "tokens", f"{record.prompt_tokens} in, {record.completion_tokens} out"
    if record.decision_probability is not None:
        point = record.point_probability  # of a good one about 0.001, which alarms without a reason
        shared = "" if point is None else f"; point {point:.1g}, as it is shared with the points beside it"
        yield "probability", f"decision {record.decision_probability:.2f}{shared}"
    yield "milliseconds", ", ".join(f"{part} {1000 * seconds:.1f}" for part, seconds in record.latency_s.items())
