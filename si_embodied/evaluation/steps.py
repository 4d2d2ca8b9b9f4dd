"""Every step of an episode: what the robot saw, where it was, what it did and what came of it.

One zip file an episode (`steps/seed-000012.zip`): the images as PNG, `steps.jsonl` with one line a step, and
`episode.json` with what all steps share. `si-embodied data export` makes a data set of them.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.geometry import Intrinsics
from si_embodied.runs import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
_EPISODE, _STEPS = "episode.json", "steps.jsonl"


@dataclass(frozen=True, slots=True)
class Body:
    """The robot, as far as its steps need explaining."""

    kind: str  # of its tasks: navigation, manipulation or rearrangement
    action_mode: str
    control_period_s: float  # simulated duration of an action, at most


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStep:
    """An observation, the action that was taken on it, and what came of that."""

    stamp_s: float  # of the observation, simulation time
    T_map_base: NDArray[np.float64]  # (4, 4)
    T_map_camera: NDArray[np.float64]  # (N, 4, 4), optical frames, in the order of the cameras
    T_map_tool: NDArray[np.float64] | None  # (4, 4); None without an arm
    gripper_opening_m: float | None
    action: NDArray[np.float64]  # (), or (n,), as the environment's action space has it
    plan: int  # index of the latest plan; -1 before the first one, and of a policy that does not plan
    subgoal: str  # what the robot is about, in words; empty for a policy that does not plan
    reward: float
    terminated: bool
    truncated: bool
    success: bool  # of the episode so far, after the step


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeSteps:
    """The steps of one episode."""

    body: Body
    cameras: Mapping[str, Intrinsics]  # by name; the same in every step
    skills: tuple[str, ...]  # a robot of skills: what each number stands for
    steps: tuple[RecordedStep, ...]
    images: Mapping[str, tuple[bytes, ...]]  # by camera: a PNG for each step


@dataclass(frozen=True, slots=True)
class StepFolder:
    """The steps of a run's episodes, one file for each."""

    folder: Path

    def put(self, seed: int, episode: EpisodeSteps) -> None:
        """Write the steps of an episode.

        Raises:
            RecordError: the file cannot be written.
        """
        rows = "".join(json.dumps(_step_to_json(step)) + "\n" for step in episode.steps)
        # Images are compressed already.
        with replacing(self.path(seed)) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
            file.writestr(_EPISODE, json.dumps(_about_to_json(episode), indent=2) + "\n")
            file.writestr(_STEPS, rows, zipfile.ZIP_DEFLATED)
            for camera, images in episode.images.items():
                for number, image in enumerate(images):
                    file.writestr(_image_name(camera, number), image)

    def get(self, seed: int, *, images: bool = True) -> EpisodeSteps | None:
        """The steps of an episode; None if none were kept.

        Args:
            seed: of the episode.
            images: whether to read these too; they are nearly all of the file.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path(seed)
        try:
            with zipfile.ZipFile(path) as file:
                about = json.loads(file.read(_EPISODE))
                rows = [json.loads(line) for line in file.read(_STEPS).splitlines()]
                pngs = {
                    camera: tuple(file.read(_image_name(camera, number)) for number in range(len(rows)))
                    for camera in (about["cameras"] if images else ())
                }
            return EpisodeSteps(
                Body(**about["body"]),
                {name: Intrinsics(**values) for name, values in about["cameras"].items()},
                tuple(about["skills"]),
                tuple(map(_step_from_json, rows)),
                pngs,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"cannot read the steps in {str(path)!r} ({type(error).__name__}: {error}); run the episode again"
            ) from error

    def path(self, seed: int) -> Path:
        """The file of an episode."""
        return self.folder / f"seed-{seed:06d}.zip"


def _image_name(camera: str, number: int) -> str:
    return f"images/{camera}/{number:06d}.png"


def _about_to_json(episode: EpisodeSteps) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "body": dataclasses.asdict(episode.body),
        "cameras": {name: dataclasses.asdict(each) for name, each in episode.cameras.items()},
        "skills": list(episode.skills),
    }


def _step_to_json(step: RecordedStep) -> dict[str, Any]:
    """Numbers are written in full: what is read back is equal."""
    row = {field.name: getattr(step, field.name) for field in dataclasses.fields(step)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def _step_from_json(row: Mapping[str, Any]) -> RecordedStep:
    arrays = ("T_map_base", "T_map_camera", "T_map_tool", "action")
    values: dict[str, Any] = {
        name: np.array(value, np.float64) if name in arrays and value is not None else value
        for name, value in row.items()
    }
    return RecordedStep(**values)
