"""habitat-lab's configs for our environments: the stock ones, a user's own, and our additions to either."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.errors import ConfigError
from si_embodied.robots import FETCH_BASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.episodes import HabitatTask

SimulatorName = Literal["embedded", "habitat-sim"]

_STOCK: dict[HabitatTask, str] = {
    "pointnav": "benchmark/nav/pointnav/pointnav_base.yaml",
    "objectnav": "benchmark/nav/objectnav/objectnav_hm3d.yaml",
    "imagenav": "benchmark/nav/imagenav/imagenav_base.yaml",
    "instructionnav": "benchmark/nav/vln_r2r.yaml",
}
_ACTIONS = ("stop", "move_forward", "turn_left", "turn_right", "look_up", "look_down")  # in BaseAction's order
WAIT = "wait"
MAX_RANGE_M = 20.0


@dataclass(frozen=True, slots=True)
class DepthScale:
    """The scale of a habitat-lab depth observation."""

    min_m: float
    max_m: float
    normalised: bool  # 0 to 1 over the range, habitat-lab's default


@dataclass(frozen=True, slots=True)
class Setup:
    """A habitat-lab config, and the agent that it describes."""

    config: Any  # the whole DictConfig
    embodiment: MobileBase
    height: int  # pixels
    width: int
    fov_y_rad: float
    rgb: str  # the sensors' uuids
    depth: str
    depth_scale: DepthScale
    action_names: tuple[str, ...]  # habitat's, by BaseAction; a task without tilt waits instead


def stock_config(task: HabitatTask, overrides: Sequence[str] = ()) -> Any:
    """habitat-lab's own config of a task."""
    return _compose(_STOCK[task], overrides)


def user_config(path: str | Path, overrides: Sequence[str] = ()) -> Any:
    """A habitat-lab config, by its path or by its name among habitat-lab's own ("benchmark/nav/…").

    Raises:
        ConfigError: the config does not exist or does not compose.
    """
    return _compose(str(path), overrides)


def _compose(path: str, overrides: Sequence[str]) -> Any:
    habitat = load_habitat()
    try:
        return habitat.get_config(path, overrides=list(overrides))
    except Exception as error:
        raise ConfigError(
            f"habitat-lab cannot compose the config {path!r} with the overrides {list(overrides)}: {error}; "
            'give a file, or one of its own names like "benchmark/nav/pointnav/pointnav_hm3d.yaml"'
        ) from error


def fit_to_apartments(config: Any, task: HabitatTask, camera: CameraSetup, image_size: int, max_steps: int) -> None:
    """Set a stock config's agent to the Fetch of our other worlds: its camera, step sizes and dimensions."""
    from habitat.config import read_write
    from habitat.config.default import get_agent_config
    from habitat.config.default_structured_configs import LookDownActionConfig, LookUpActionConfig

    with read_write(config):
        habitat = config.habitat
        habitat.environment.max_episode_steps = max_steps
        habitat.simulator.forward_step_size = FETCH_BASE.forward_step_m
        habitat.simulator.turn_angle = round(math.degrees(FETCH_BASE.turn_step_rad))
        habitat.simulator.habitat_sim_v0.allow_sliding = True
        agent = get_agent_config(habitat.simulator)
        agent.height, agent.radius = FETCH_BASE.height_m, FETCH_BASE.radius_m
        for sensor in agent.sim_sensors.values():
            sensor.height = sensor.width = image_size
            sensor.hfov = round(math.degrees(camera.fov_y_rad))
            sensor.position = [0.0, camera.height_m, 0.0]
            sensor.orientation = [camera.tilt_rad, camera.pan_rad, 0.0]
            if "normalize_depth" in sensor:
                sensor.min_depth, sensor.max_depth, sensor.normalize_depth = 0.0, MAX_RANGE_M, False
        habitat.task.actions.setdefault("look_up", LookUpActionConfig())
        habitat.task.actions.setdefault("look_down", LookDownActionConfig())
        tilt_degrees = round(math.degrees(FETCH_BASE.tilt_step_rad))
        habitat.task.actions.look_up.tilt_angle = habitat.task.actions.look_down.tilt_angle = tilt_degrees
        habitat.task.measurements.pop("top_down_map", None)
        if task == "instructionnav":  # its goals are the places from which the object is visible
            habitat.task.measurements.success.success_distance = 0.1


def override(config: Any, overrides: Sequence[str]) -> None:
    """Apply hydra overrides with plain values ("habitat.simulator.turn_angle=30") again, over our own changes."""
    from habitat.config import read_write
    from omegaconf import OmegaConf

    plain = [text for text in overrides if text[0] not in "+~" and "/" not in text.partition("=")[0]]
    with read_write(config):
        config.merge_with(OmegaConf.from_dotlist(plain))


def complete(config: Any, simulator: SimulatorName, *, top_down_map: bool) -> Setup:
    """Add what all our environments have, waiting and habitat's measures, and choose the simulator.

    Raises:
        ConfigError: the agent does not have one RGB and one depth camera of the same size and mount.
    """
    from habitat.config import default_structured_configs as defaults
    from habitat.config import read_write
    from habitat.config.default import get_agent_config

    from si_embodied.envs.habitat import actions, image_goal

    with read_write(config):
        task = config.habitat.task
        task.actions[WAIT] = defaults.ActionConfig(type=actions.WAIT)
        if simulator == "embedded":
            from si_embodied.envs.habitat.simulator import APARTMENT_SIMULATOR

            config.habitat.simulator.type = APARTMENT_SIMULATOR
            for name, ours in (("look_up", actions.LOOK_UP), ("look_down", actions.LOOK_DOWN)):
                if name in task.actions:
                    task.actions[name].type = ours
        if "imagegoal_sensor" in task.lab_sensors:
            task.lab_sensors.imagegoal_sensor.type = image_goal.IMAGE_GOAL
        wanted = [
            ("distance_to_goal", defaults.DistanceToGoalMeasurementConfig),
            ("success", defaults.SuccessMeasurementConfig),
            ("spl", defaults.SPLMeasurementConfig),
            ("soft_spl", defaults.SoftSPLMeasurementConfig),
            ("collisions", defaults.CollisionsMeasurementConfig),
        ]
        if top_down_map:
            wanted.append(("top_down_map", defaults.TopDownMapMeasurementConfig))
        for name, measure in wanted:
            task.measurements.setdefault(name, measure())
    return _read(config, get_agent_config(config.habitat.simulator))


def _read(config: Any, agent: Any) -> Setup:
    rgb, depth = _camera(agent, "RGBSensor"), _camera(agent, "DepthSensor")
    for key in ("height", "width", "hfov", "position", "orientation"):
        if rgb[1][key] != depth[1][key]:
            raise ConfigError(
                f"expected the RGB and the depth camera to match, got {key}: {rgb[1][key]} and {depth[1][key]}; "
                f"override habitat.simulator.agents.<agent>.sim_sensors.depth_sensor.{key}"
            )
    camera, task, simulator = rgb[1], config.habitat.task, config.habitat.simulator
    tilted = float(camera.orientation[0])
    tilts = "look_up" in task.actions and "look_down" in task.actions
    body = replace(
        FETCH_BASE,
        radius_m=float(agent.radius),
        height_m=float(agent.height),
        forward_step_m=float(simulator.forward_step_size),
        turn_step_rad=math.radians(simulator.turn_angle),
        tilt_step_rad=math.radians(task.actions.look_up.tilt_angle) if tilts else FETCH_BASE.tilt_step_rad,
        tilt_range_rad=FETCH_BASE.tilt_range_rad if tilts else (tilted, tilted),
        success_distance_m=float(task.measurements.success.success_distance),
    )
    return Setup(
        config=config,
        embodiment=body,
        height=camera.height,
        width=camera.width,
        fov_y_rad=2 * math.atan(math.tan(math.radians(camera.hfov) / 2) * camera.height / camera.width),
        rgb=rgb[0],
        depth=depth[0],
        depth_scale=DepthScale(depth[1].min_depth, depth[1].max_depth, depth[1].normalize_depth),
        action_names=(*(name if name in task.actions else WAIT for name in _ACTIONS), WAIT),
    )


def _camera(agent: Any, kind: str) -> tuple[str, Any]:
    """The uuid and config of the agent's only camera of a kind."""
    found = [sensor for sensor in agent.sim_sensors.values() if sensor.type.endswith(kind)]
    if len(found) != 1:
        names = [sensor.type for sensor in agent.sim_sensors.values()]
        raise ConfigError(
            f"expected an agent with one {kind}, got: {names}; the sensor setup rgbd_agent has one of each"
        )
    return str(found[0].get("uuid", "rgb" if kind == "RGBSensor" else "depth")), found[0]


assert len(_ACTIONS) == BaseAction.WAIT  # the names are in the order of the numbers
