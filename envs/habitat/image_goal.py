"""habitat-lab's image goal sensor, made a function of the episode alone."""

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
    """The image at the goal, with the heading of the episode's `info["goal_rotation"]` (x, y, z, w).

    Without it the heading is random, as in habitat-lab, but seeded by a checksum of the episode's id: habitat-lab seeds
    it with Python's `hash`, which differs between processes.
    """

    def _get_pointnav_episode_image_goal(self, episode: Any) -> Any:
        rotation = (episode.info or {}).get("goal_rotation")
        if rotation is None:
            angle = np.random.RandomState(zlib.crc32(episode.episode_id.encode())).uniform(0, 2 * np.pi)
            rotation = [0.0, np.sin(angle / 2), 0.0, np.cos(angle / 2)]
        position = [float(value) for value in episode.goals[0].position]
        return self._sim.get_observations_at(position=position, rotation=rotation)[self._rgb_sensor_uuid]
