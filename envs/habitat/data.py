"""Checks users' data for habitat-lab's configs: what is missing, where to get it, and where to put it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import DataError

_HOST = "https://dl.fbaipublicfiles.com/habitat/data/datasets"
_TOOL = "python -m habitat_sim.utils.datasets_download --data-path data/ --uids"


@dataclass(frozen=True, slots=True)
class _Source:
    """A data set from Habitat's documentation."""

    prefix: str  # of its path, as in habitat-lab's configs
    get: str


# From DATASETS.md of habitat-lab and of habitat-sim.
_EPISODES = (
    _Source("data/datasets/pointnav/habitat-test-scenes/v1/", f"{_TOOL} habitat_test_pointnav_dataset"),
    _Source("data/datasets/pointnav/gibson/v1/", f"{_HOST}/pointnav/gibson/v1/pointnav_gibson_v1.zip"),
    _Source("data/datasets/pointnav/gibson/v2/", f"{_HOST}/pointnav/gibson/v2/pointnav_gibson_v2.zip"),
    _Source("data/datasets/pointnav/mp3d/v1/", f"{_HOST}/pointnav/mp3d/v1/pointnav_mp3d_v1.zip"),
    _Source("data/datasets/pointnav/hm3d/v1/", f"{_HOST}/pointnav/hm3d/v1/pointnav_hm3d_v1.zip"),
    _Source("data/datasets/objectnav/mp3d/v1/", f"{_HOST}/objectnav/m3d/v1/objectnav_mp3d_v1.zip"),
    _Source("data/datasets/objectnav/hm3d/v1/", f"{_HOST}/objectnav/hm3d/v1/objectnav_hm3d_v1.zip"),
    _Source("data/datasets/objectnav/hm3d/v2/", f"{_HOST}/objectnav/hm3d/v2/objectnav_hm3d_v2.zip"),
    _Source("data/datasets/vln/mp3d/r2r/v1/", f"{_HOST}/vln/mp3d/r2r/v1/vln_r2r_mp3d_v1.zip"),
)
_SCENES = (
    _Source("data/scene_datasets/habitat-test-scenes/", f"{_TOOL} habitat_test_scenes"),
    _Source(
        "data/scene_datasets/hm3d/",
        f"{_TOOL} hm3d_val_v0.2 --username <API token id> --password <API token secret>, after asking for access at "
        "https://matterport.com/habitat-matterport-3d-research-dataset",
    ),
    _Source(
        "data/scene_datasets/mp3d/",
        "download_mp.py --task habitat, which Matterport sends after its terms are signed: https://niessner.github.io/Matterport/",
    ),
    _Source(
        "data/scene_datasets/gibson/",
        "the form at https://stanfordvl.github.io/iGibson/dataset.html, then gibson_habitat_trainval.zip",
    ),
)


def check_episodes(dataset: Any) -> None:
    """Check that the episodes of a habitat-lab dataset config exist.

    Raises:
        DataError: they do not; the message says what to download and where to put it.
    """
    path = str(dataset.data_path).format(split=dataset.split)
    if not Path(path).is_file():
        raise DataError(_complaint(f"the episodes of split {dataset.split!r}", path, _EPISODES))


def check_scene(episode: Any) -> None:
    """Check that an episode's scene exists, and its scene dataset if it names one.

    Raises:
        DataError: it does not; the message says what to download and where to put it.
    """
    of_dataset = episode.scene_dataset_config
    if of_dataset != "default" and not Path(of_dataset).is_file():
        raise DataError(_complaint("the scene dataset of an episode", of_dataset, _SCENES))
    if not Path(episode.scene_id).is_file():
        raise DataError(_complaint("a scene of the episodes", episode.scene_id, _SCENES))


def _complaint(what: str, path: str, sources: tuple[_Source, ...]) -> str:
    where = Path(path) if Path(path).is_absolute() else Path.cwd() / path
    text = f"could not find {what}: expected a file at {where}."
    source = next((source for source in sources if path.removeprefix("./").startswith(source.prefix)), None)
    if source is None:
        return f"{text} Put it there, or set its path with overrides=['habitat.dataset.data_path=…']"
    return f"{text} Get it with: {source.get}. Unpack it into {source.prefix} in the working directory"
