"""A sensor of habitat-lab's that would not be a function of the episode alone, made one."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from si_embodied.envs.habitat.lab import load_habitat

load_habitat()

from habitat.core.registry import registry  # noqa: E402
from habitat.tasks.nav.nav import ImageGoalSensor  # noqa: E402

IMAGE_GOAL = "SiEmbodiedImageGoalSensor"


@registry.register_sensor(name=IMAGE_GOAL)
class SeededImageGoalSensor(ImageGoalSensor):  # type: ignore[misc]  # habitat-lab has no types
    """The picture at the goal, facing as the episode's `info["goal_rotation"]` (x, y, z, w) says.

    Without that the heading is random as habitat-lab's, but drawn from the episode's id itself and not from Python's
    `hash` of it, which changes from process to process.
    """

    def _get_pointnav_episode_image_goal(self, episode: Any) -> Any:
        rotation = (episode.info or {}).get("goal_rotation")
        if rotation is None:
            angle = np.random.RandomState(zlib.crc32(episode.episode_id.encode())).uniform(0, 2 * np.pi)
            rotation = [0.0, np.sin(angle / 2), 0.0, np.cos(angle / 2)]
        position = [float(value) for value in episode.goals[0].position]
        return self._sim.get_observations_at(position=position, rotation=rotation)[self._rgb_sensor_uuid]
