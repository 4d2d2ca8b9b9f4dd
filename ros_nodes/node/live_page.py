"""Shows what the planner sees, decides and does on the page of `si-embodied watch`, through a folder."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.live.drawer import Drawer
from si_embodied.live.folder import FolderScreen
from si_embodied.live.moment import LISTED_PLANS, Moment
from si_embodied.policies.base import Execution
from si_embodied.ros_nodes.node.task_runner import Phase
from si_embodied.types import Refusal

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation, Outcome

PERIOD_S = 0.5
"""Between two looks at the cameras while a page is open; a look decodes their newest images."""
_TRAIL_POINTS, _MOVED_M = 2000, 0.05
_CLOSING_S = 1.0


class LivePage:
    """A decision listener. While no page is open it notes decisions and the base's way, and draws nothing."""

    def __init__(self, node: NodeView, runtime: PlannerRuntime) -> None:
        """Show nothing unless the parameter `live_folder` names a folder."""
        self._node, self._runtime = node, runtime
        folder = runtime.settings.live_folder
        self._screen = FolderScreen(Path(folder).expanduser()) if folder else None
        self._drawer = None if self._screen is None else Drawer(self._screen)
        self._decisions: deque[Decision] = deque(maxlen=LISTED_PLANS)
        self._count = 0
        self._planned_from: Observation | None = None  # by the last decision that saw anything
        self._seen: Observation | None = None  # the newest
        self._trail: deque[tuple[float, float]] = deque(maxlen=_TRAIL_POINTS)
        self._looked_s = -math.inf

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Note the decision; it is shown at the next tick."""
        if self._screen is None:
            return
        self._decisions.append(decision)
        self._count += 1
        if observation is not None:
            inputs = self._runtime.plan_inputs
            known = None if inputs is None else inputs.navigation_map
            self._planned_from = replace(observation, navigation_map=known)
        self._looked_s = -math.inf

    def tick(self) -> None:
        """Show the moment if a page is open and it is time."""
        if self._screen is None or self._drawer is None or time.monotonic() - self._looked_s < PERIOD_S:
            return
        self._looked_s = time.monotonic()
        self._follow()
        if not self._screen.wanted():
            return
        seen = self._runtime.look()
        if not isinstance(seen, Refusal):
            self._seen = seen
        if self._seen is not None:
            problem = f", {seen.code.name}: {seen.message}" if isinstance(seen, Refusal) else ""
            self._drawer.show(self._moment(self._seen, problem))

    def close(self) -> None:
        """Remove what is shown."""
        if self._screen is not None and self._drawer is not None:
            self._drawer.wait(_CLOSING_S)
            self._screen.close()

    def _follow(self) -> None:
        pose = self._runtime.sensors.base_now()
        if pose is None:
            return
        x, y = (round(float(value), 3) for value in pose.translation[:2])
        if not self._trail or math.dist(self._trail[-1], (x, y)) >= _MOVED_M:
            self._trail.append((x, y))

    def _moment(self, seen: Observation, problem: str) -> Moment:
        runtime, report = self._runtime, self._runtime.report
        title = f"{runtime.info.model} on {self._node.get_fully_qualified_name()}"
        decisions, robot = tuple(self._decisions), runtime.settings.embodiment
        if report is None:
            return Moment(title, None, "no task yet", self._count, f"idle{problem}", seen, robot=robot)
        progress, phase = report.progress, runtime.runner.phase
        execution = Execution(
            end=progress.end, planned_from=self._planned_from, memory=progress.memory, step=progress.step
        )
        status = _ended(progress.end) if phase is Phase.IDLE and progress.end is not None else phase.name.lower()
        return Moment(
            title, None, progress.task.instruction, self._count, f"{status}{problem}", seen, decisions, execution,
            runtime.tap.prompt, robot, tuple(self._trail), earlier=self._count - len(decisions),
        )  # fmt: skip


def _ended(end: Outcome) -> str:
    return "succeeded" if end.succeeded else f"failed: {end.code.name} {end.message}"
