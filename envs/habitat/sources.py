"""Sources of an environment's episodes: our seeds, or the data set of a habitat-lab config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from si_embodied.envs.habitat.data import check_episodes, check_scene
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.errors import DataError

load_habitat()

from habitat.core.registry import registry  # noqa: E402
from habitat.datasets import make_dataset  # noqa: E402

from si_embodied.envs.habitat.episodes import DATASET_TYPES, HabitatTask, dataset  # noqa: E402

if TYPE_CHECKING:
    from si_embodied.envs.episode import CameraSetup


class EpisodeSource(Protocol):
    """Maps a number to an episode, independently of earlier calls."""

    def draw(self, number: int) -> tuple[Any, Any]:
        """A habitat-lab dataset, and the number's episode in it."""


class SeededEpisodes:
    """Our episodes: a dataset of one episode per seed."""

    def __init__(self, task: HabitatTask, camera: CameraSetup, scene: str = "") -> None:
        """The episodes of one task, for one camera; in our apartments, or in the building of a file."""
        self._task, self._camera, self._scene = task, camera, scene

    def draw(self, number: int) -> tuple[Any, Any]:
        """The episode of a seed, parsed by habitat-lab's own class."""
        made = registry.get_dataset(DATASET_TYPES[self._task])()
        made.from_json(json.dumps(dataset(self._task, [number], self._camera, self._scene)), scenes_dir=None)
        return made, made.episodes[0]


class DatasetEpisodes:
    """A data set's episodes in order, starting over after the last."""

    def __init__(self, config: Any, *, scenes_are_files: bool) -> None:
        """Use a `habitat.dataset` config; nothing is read before the first episode.

        Args:
            config: habitat-lab's.
            scenes_are_files: whether the simulator loads scenes from files; habitat-sim aborts if one is missing.

        Raises:
            DataError: the episodes are missing.
        """
        check_episodes(config)
        self._config, self._scenes_are_files = config, scenes_are_files
        self._dataset: Any = None
        self._episodes: list[Any] = []

    def draw(self, number: int) -> tuple[Any, Any]:
        """The episode of a number, modulo the number of episodes.

        Raises:
            DataError: the data set has no episodes, or the episode's scene is missing.
        """
        if self._dataset is None:
            self._dataset = make_dataset(id_dataset=self._config.type, config=self._config)
            self._episodes = list(self._dataset.episodes)
        if not self._episodes:
            path = self._config.data_path.format(split=self._config.split)
            raise DataError(
                f"the data set {path!r} has no episodes of the scenes {list(self._config.content_scenes)}; "
                "set habitat.dataset.content_scenes to scenes that it has"
            )
        episode = self._episodes[number % len(self._episodes)]
        if self._scenes_are_files:
            check_scene(episode)
        return self._dataset, episode
