"""Task actions that habitat-lab does not have without habitat-sim: waiting and tilting the cameras."""

from __future__ import annotations

import math
from typing import Any

from si_embodied.envs.habitat.lab import load_habitat

load_habitat()

from habitat.core.embodied_task import SimulatorTaskAction  # noqa: E402
from habitat.core.registry import registry  # noqa: E402

WAIT = "SiEmbodiedWaitAction"
LOOK_UP, LOOK_DOWN = "SiEmbodiedLookUpAction", "SiEmbodiedLookDownAction"


@registry.register_task_action(name=WAIT)
class WaitAction(SimulatorTaskAction):  # type: ignore[misc]  # habitat-lab has no types
    """Hold still for a step, while the planner thinks or is unsure."""

    def step(self, *_: Any, **__: Any) -> Any:
        """Observe without moving."""
        return self._sim.step(None)


@registry.register_task_action(name=LOOK_UP)
class LookUpAction(SimulatorTaskAction):  # type: ignore[misc]
    """Tilt up by the config's `tilt_angle`, degrees; habitat-lab's own action needs habitat-sim."""

    sign = 1

    def step(self, *_: Any, **__: Any) -> Any:
        """Tilt and observe."""
        self._sim.tilt(self.sign * math.radians(self._config.tilt_angle))
        return self._sim.step(None)


@registry.register_task_action(name=LOOK_DOWN)
class LookDownAction(LookUpAction):
    """Tilt down."""

    sign = -1
