"""Keeps every step of an episode while it runs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ObservationError, extra
from si_embodied.evaluation.episode import Stepped, Watcher
from si_embodied.evaluation.steps import Body, EpisodeSteps, RecordedStep

if TYPE_CHECKING:
    import gymnasium
    from numpy.typing import NDArray

    from si_embodied.geometry import Intrinsics
    from si_embodied.policies.base import Execution, Policy
    from si_embodied.types import Observation, Task

WAITING, DONE, GAVE_UP = "wait", "done", "give up"
"""What a planning robot is about while it executes no subgoal."""


class StepRecorder(Watcher):
    """Keeps images, poses, actions and rewards; the images as PNG, since an episode may have hundreds."""

    def __init__(self) -> None:
        """Expect one episode."""
        self._body: Body | None = None
        self._first: Observation | None = None
        self._images: dict[str, list[bytes]] = {}
        self._steps: list[RecordedStep] = []
        self._now: tuple[Observation, int, str] | None = None  # and the plan and the subgoal at that moment

    def acted(
        self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, observation: Observation, step: int
    ) -> None:
        """Take the observation, and what the policy is about.

        Raises:
            ObservationError: a camera has come, gone or changed its intrinsics since the first step.
        """
        if self._first is None:
            world: Any = env.unwrapped
            robot = world.embodiment
            self._first, self._body = observation, Body(task.kind, robot.action_mode, float(robot.control_period_s))
            self._images = {frame.name: [] for frame in observation.frames}
        if _cameras(observation) != _cameras(self._first):
            raise ObservationError(f"the cameras changed at step {step}; the steps of such an episode cannot be kept")
        for frame in observation.frames:
            self._images[frame.name].append(_png(frame.rgb))
        decided = len(policy.decisions)
        self._now = observation, decided - 1, _subgoal(policy.execution) if decided else ""

    def stepped(self, result: Stepped) -> None:
        """Take the action and its result."""
        assert self._now is not None  # an action comes before its step
        observation, plan, subgoal = self._now
        arm = observation.arm
        self._steps.append(
            RecordedStep(
                stamp_s=float(observation.stamp_s),
                T_map_base=observation.T_map_base.matrix(),
                T_map_camera=np.stack([frame.T_map_camera.matrix() for frame in observation.frames]),
                T_map_tool=None if arm is None else arm.T_map_tool.matrix(),
                gripper_opening_m=None if arm is None else float(arm.gripper_opening_m),
                action=np.array(result.action, np.float64),
                plan=plan,
                subgoal=subgoal,
                reward=result.reward,
                terminated=result.terminated,
                truncated=result.truncated,
                success=result.success,
            )
        )

    def steps(self) -> EpisodeSteps | None:
        """What was kept; None if the episode has not had a step."""
        if self._first is None or self._body is None or not self._steps:
            return None
        skills = self._first.skills
        return EpisodeSteps(
            self._body,
            _cameras(self._first),
            () if skills is None else tuple(option.text for option in skills.options),
            tuple(self._steps),
            {name: tuple(images[: len(self._steps)]) for name, images in self._images.items()},
        )


def _cameras(observation: Observation) -> dict[str, Intrinsics]:
    return {frame.name: frame.intrinsics for frame in observation.frames}


def _subgoal(execution: Execution) -> str:
    if execution.step is not None:
        return execution.step.words
    if execution.end is None:
        return WAITING
    return DONE if execution.end.succeeded else GAVE_UP


def _png(rgb: NDArray[np.uint8]) -> bytes:
    with extra("sim"):
        from PIL import Image
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(data, "PNG", compress_level=1)
    return data.getvalue()
