"""A place of one's own to drive in: a scanned building or a recording (`si_embodied/OwnWorld-v0`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, SupportsFloat, get_args

import gymnasium
import numpy as np

from si_embodied import robots
from si_embodied.embodiment import BaseAction
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number, check_step
from si_embodied.envs.habitat.instructions import MAX_INSTRUCTION_LENGTH
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M, select_renderer
from si_embodied.envs.own.cloud import picture
from si_embodied.envs.own.goals import POINT_RADIUS_M, Asked, ask_goal, ask_point, goals_path, read_goals
from si_embodied.envs.own.mesh import UpAxis
from si_embodied.envs.own.recorded import REACH_M, RecordedPlace
from si_embodied.envs.own.recording import Recording
from si_embodied.envs.own.reprojected import ReprojectedPlace
from si_embodied.envs.own.truth import OwnWorldGroundTruth
from si_embodied.envs.spaces import CHARSET, observation_dict, observation_space
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose, wrap_angle

select_renderer()  # before mujoco is first imported, which reads the choice

from si_embodied.envs.episode import CameraSetup  # noqa: E402
from si_embodied.envs.overhead import OverheadView, side_by_side  # noqa: E402
from si_embodied.envs.own.scan import ScanPlace  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.own.place import Moved, Place
    from si_embodied.types import CameraFrame

OwnTask = Literal["goals", "pointnav"]
Views = Literal["reprojected", "recorded"]
VIEWS = get_args(Views)
TASKS, ACTION_MODES = get_args(OwnTask), ("discrete",)
MAX_STEPS = 500  # Habitat's limit
SCAN_IMAGE_PX = 224
_OVERHEAD_PX = 448
_RECORDINGS = ("metadata.yaml", "*.mcap", "*.db3")


@dataclass(slots=True)
class _Progress:
    """What has happened in the running episode; `reset` replaces it."""

    geodesic_m: float  # from the start
    trail: list[tuple[float, float]]  # map positions of the base
    steps: int = 0
    path_m: float = 0.0
    collisions: int = 0
    success: bool = False
    over: bool = False


class OwnWorldEnv(gymnasium.Env[dict[str, Any], Any]):
    """A place of your own: a scanned building (GLB and the like), or a folder of posed RGB-D images.

    The task `goals` takes instructions from a file, `pointnav` points from the seed, which the observation then has as
    `pointgoal` (distance in metres, angle in radians, left positive). The robot succeeds if it stops within the goal's
    radius. In a recording the robot holds where too little was recorded, which counts as a collision, and `info` says
    how far the view is from the nearest image, or from where the action leads (`view_off_m`, `view_off_deg`).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (as gymnasium.Env has it)
    kind: ClassVar[Literal["navigation"]] = "navigation"

    def __init__(
        self,
        task: str | None = None,
        *,
        world: str | Path | None = None,
        goals: str | Path | None = None,
        image_size: int | None = None,
        action_mode: str = "discrete",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        views: str = "reprojected",
        view_reach_m: float = REACH_M,
        up: str | None = None,
        scale: float = 1.0,
        floor_m: float | None = None,
        camera_height_m: float = robots.CAMERA_HEIGHT_M,
        camera_tilt_rad: float = robots.CAMERA_TILT_RAD,
        fov_y_deg: float = robots.CAMERA_FOV_Y_DEG,
        forward_step_m: float = robots.FETCH_BASE.forward_step_m,
        turn_step_deg: float = math.degrees(robots.FETCH_BASE.turn_step_rad),
        renderer: str | None = None,
    ) -> None:
        """Read the place.

        Args:
            task: "goals" or "pointnav"; None for goals if there is a file of them.
            world: the building's file, or the folder of posed images.
            goals: YAML file; None for `goals.yaml` in the folder, or `NAME.goals.yaml` beside the file.
            image_size: height of the images, pixels; None for 224, or a recording's own.
            action_mode: "discrete".
            render_mode: None or "rgb_array".
            max_episode_steps: steps until the episode is truncated; None for 500.
            views: of a recording: "reprojected" (the robot drives freely, and sees the recorded points from where it
                is) or "recorded" (it stands only where images were taken, and sees them as they are).
            view_reach_m: how far from where an action leads the next recorded image may have been taken.
            up: the file's vertical axis, "y" or "z"; None for y in GLB and glTF, and z in others.
            scale: metres per unit of the file.
            floor_m: height of the floor to drive on; None for the lowest large one.
            camera_height_m: of the head camera above the floor; a recording has its own camera.
            camera_tilt_rad: of the head camera at the start, up positive.
            fov_y_deg: vertical field of view.
            forward_step_m: of the robot; longer ones suit images taken far apart.
            turn_step_deg: of the robot.
            renderer: as in `select_renderer`.

        Raises:
            UnknownNameError: unknown task, action mode or render mode.
            ConfigError: a number is out of range, or the goals cannot be used.
            DataError: the folder is not one of posed images.
            SceneError: the file cannot be used.
        """
        check_names(
            ("task", task, (None, *TASKS)),
            ("action mode", action_mode, ACTION_MODES),
            ("render mode", render_mode, (None, "rgb_array")),
            ("kind of views", views, VIEWS),
            ("vertical axis", up, (None, *get_args(UpAxis))),
        )
        check_number("image_size", image_size, *IMAGE_SIZES_PX, unit="pixels")
        check_number("max_episode_steps", max_episode_steps, 1)
        check_number("view_reach_m", view_reach_m, 0.01, 5.0)
        check_number("scale", scale, 1e-6, 1e6)
        check_number("camera_height_m", camera_height_m, 0.1, 3.0)
        check_number("fov_y_deg", fov_y_deg, 10, 140, unit="degrees")
        check_number("forward_step_m", forward_step_m, 0.05, 3.0)
        check_number("turn_step_deg", turn_step_deg, 1, 90)
        self._path = _found(world)
        self._goals = self._read_goals(task, goals)
        self.task: OwnTask = "goals" if self._goals else "pointnav"
        body = replace(
            robots.FETCH_BASE,
            forward_step_m=forward_step_m,
            turn_step_rad=math.radians(turn_step_deg),
            success_distance_m=POINT_RADIUS_M if self.task == "pointnav" else robots.FETCH_BASE.success_distance_m,
        )
        self.place: Place
        if self._path.is_dir():
            recording = Recording.of(self._path, image_height=image_size, floor_m=floor_m)
            if views == "recorded":
                self.place = RecordedPlace(recording, body, reach_m=view_reach_m)
            else:
                self.place = ReprojectedPlace(recording, body)
        else:
            camera = CameraSetup(camera_height_m, 0.0, camera_tilt_rad, math.radians(fov_y_deg))
            size = image_size or SCAN_IMAGE_PX
            self.place = ScanPlace(
                self._path, body, camera, size, up=up, scale=scale, floor_m=floor_m, renderer=renderer  # type: ignore[arg-type]
            )  # fmt: skip
        self.embodiment = self.place.embodiment
        self.render_mode, self._max_steps = render_mode, max_episode_steps or MAX_STEPS
        self.ground_truth = OwnWorldGroundTruth(self)
        self.observation_space = self._observation_space()
        self.action_space = gymnasium.spaces.Discrete(len(BaseAction))
        self._overhead: OverheadView | None = None
        self._asked: Asked | None = None
        self._seen: CameraFrame | None = None
        self._progress = _Progress(0.0, [])

    def _read_goals(self, task: str | None, goals: str | Path | None) -> tuple[Any, ...]:
        if task == "pointnav":
            return ()
        path = goals_path(self._path) if goals is None else Path(goals).expanduser()
        if task is None and goals is None and not path.is_file():
            return ()
        return read_goals(path)

    def _observation_space(self) -> gymnasium.spaces.Dict:
        space = observation_space(1, *self.place.shape, max_range_m=max(MAX_RANGE_M, 1000.0))
        space.spaces["instruction"] = gymnasium.spaces.Text(MAX_INSTRUCTION_LENGTH, charset=CHARSET)
        if self.task == "pointnav":
            space.spaces["pointgoal"] = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
        return gymnasium.spaces.Dict(dict(sorted(space.spaces.items())))

    # --- the episode ------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> Asked:
        """The goal of the running episode.

        Raises:
            gymnasium.error.ResetNeeded: no episode has started.
        """
        if self._asked is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._asked

    @property
    def seen(self) -> CameraFrame:
        """The last observation's image.

        Raises:
            gymnasium.error.ResetNeeded: no episode has started.
        """
        if self._seen is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._seen

    @property
    def pose(self) -> tuple[float, float, float]:
        """The robot's x, y in metres and yaw in radians, map."""
        return self.place.pose

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`.

        Raises:
            SceneError: no path leads to the goal.
        """
        super().reset(seed=seed)
        del options
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        asked = self._asked = (
            ask_goal(self.place, self._goals, number) if self._goals else ask_point(self.place, number)
        )
        self.place.put(asked.start)
        self._progress = _Progress(max(asked.paths.distance(self.pose), 1e-6), [self.pose[:2]])
        return self._observe(), self._info(None)

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Do one action. The reward is the metres driven towards the goal, and 2.5 for success.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: no episode has started, or it is over.
        """
        asked, progress = self.asked, self._progress
        check_step(self.action_space, action, over=progress.over)
        before, stopped = asked.paths.distance(self.pose), int(action) == BaseAction.STOP
        moved = self.place.act(BaseAction(int(action)))
        progress.steps += 1
        progress.path_m += moved.length_m
        progress.collisions += moved.touched
        progress.trail.append(self.pose[:2])
        progress.success = stopped and asked.reached(self.pose)
        truncated = not stopped and progress.steps >= self._max_steps
        progress.over = stopped or truncated
        nearer = before - asked.paths.distance(self.pose)
        reward = (nearer if math.isfinite(nearer) else 0.0) + (2.5 if progress.success else 0.0)
        return self._observe(), reward, stopped, truncated, self._info(moved)

    def _info(self, moved: Moved | None) -> dict[str, Any]:
        progress, distance = self._progress, self.asked.paths.distance(self.pose)
        efficiency = progress.geodesic_m / max(progress.geodesic_m, progress.path_m)
        left = distance / progress.geodesic_m
        return {
            "success": progress.success,
            "spl": float(progress.success) * efficiency,
            "soft_spl": max(0.0, 1.0 - left) * efficiency,
            "distance_to_goal": distance,
            "path_length": progress.path_m,
            "geodesic_distance": progress.geodesic_m,
            "collisions": progress.collisions,
            "view_off_m": 0.0 if moved is None else moved.off_m,
            "view_off_deg": 0.0 if moved is None else math.degrees(moved.off_rad),
        }

    def _observe(self) -> dict[str, Any]:
        stamp_s = self._progress.steps * self.embodiment.control_period_s
        self._seen = self.place.frame(stamp_s)
        x, y, yaw = self.pose
        observation = observation_dict((self._seen,), Pose.planar(x, y, yaw), self.asked.goal.instruction, stamp_s)
        if self.task == "pointnav":
            gx, gy = self.asked.goal.position[:2]
            bearing = wrap_angle(math.atan2(gy - y, gx - x) - yaw)
            observation["pointgoal"] = np.array([math.hypot(gx - x, gy - y), bearing], np.float32)
        return observation

    # --- rendering --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """The robot's view beside the place from above, (H, W, 3); None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('nothing to render: create the environment with render_mode="rgb_array"')
            return None
        if self._overhead is None:
            self._overhead = _overhead(self.place)
        goal = self.asked.goal.position
        above = self._overhead.draw(self.pose, self._progress.trail, (goal[0], goal[1]), self.embodiment.radius_m)
        return side_by_side(self.seen.rgb, above)

    def close(self) -> None:
        """Free the renderer; the environment can be reset again."""
        self.place.close()


def _overhead(place: Place) -> OverheadView:
    grid = place.floor.grid
    (rows, columns), (x, y) = grid.free.shape, grid.origin_m
    (x0, y0), (x1, y1) = (x, y), grid.point(rows, columns)
    size_m, centre = max(x1 - x0, y1 - y0), ((x0 + x1) / 2, (y0 + y1) / 2)
    corner = centre[0] - size_m / 2, centre[1] - size_m / 2
    return OverheadView(picture(place.cloud, corner, size_m, _OVERHEAD_PX), centre, _OVERHEAD_PX / size_m)


def _found(world: str | Path | None) -> Path:
    """The path of the place.

    Raises:
        ConfigError: none is given, there is nothing there, or it is a recording that has to be unpacked first.
    """
    if not world:
        raise ConfigError("expected world to be a GLB file or a folder of posed images; see docs/own_world.md")
    path = Path(world).expanduser()
    if not path.exists():
        raise ConfigError(f"no such file or folder: {str(path)!r}; give a GLB file or a folder of posed images")
    recorded = path.suffix in (".mcap", ".db3") or any(True for name in _RECORDINGS for _ in path.glob(name))
    if recorded:
        raise ConfigError(
            f"{str(path)!r} is a recording of messages; make a folder of posed images of it with: "
            f"si-embodied data frames {path} --out FOLDER"
        )
    return path
