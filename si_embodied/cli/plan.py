"""`si-embodied plan`: one observation, from an episode or from files, to one plan and what becomes of it."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.cli.arguments import add_model, add_world, backend_config

if TYPE_CHECKING:
    from rich.console import Console

    from si_embodied.embodiment import Embodiment
    from si_embodied.types import Decision, Observation, Task

    Scene = tuple[Task, Observation, Embodiment]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="one observation to one plan",
        description="Show one observation to the planner and print the plan, the goal or refusal it ends in, and where "
        "the time went. The observation is an episode's first (--env, --task, --seed) or comes from files (--rgb).",
    )
    add_world(parser, required=False)
    add_model(parser)
    parser.add_argument("--answer", metavar="JSON", help="take this as the model's answer; no model is loaded")
    files = parser.add_argument_group("an observation from files")
    files.add_argument("--rgb", type=Path, metavar="PNG", help="the image")
    files.add_argument("--depth", type=Path, metavar="NPY|PNG", help="metres (.npy) or 16-bit millimetres (.png)")
    camera = files.add_mutually_exclusive_group()
    camera.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="in pixels of the image")
    camera.add_argument("--fov", type=float, default=60.0, metavar="DEG", help="vertical field of view (default: 60)")
    files.add_argument("--instruction", metavar="TEXT", help="what the robot is asked")
    files.add_argument("--kind", choices=("navigation", "manipulation"), default="navigation", help="which skills")
    files.add_argument("--camera-height", type=float, default=1.1, metavar="M", help="above the floor (default: 1.1)")
    files.add_argument("--camera-tilt", type=float, default=0.0, metavar="DEG", help="up is positive (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the record as one line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan once and print it; 0 also for a hold, which is an answer."""
    from rich.console import Console

    from si_embodied.backends.config import BackendConfig
    from si_embodied.backends.opening import open_planner
    from si_embodied.config import load_planner_config
    from si_embodied.errors import ConfigError
    from si_embodied.memory import Memory

    if (args.env is None) == (args.rgb is None):
        raise ConfigError("expected either --env ID or --rgb FILE: an observation comes from an episode or from files")
    console = Console()
    task, observation, embodiment = _from_episode(args) if args.env else _from_files(args)
    backend = backend_config(args) if args.answer is None else BackendConfig("scripted", script=(args.answer,))
    planner = open_planner(backend, embodiment, load_planner_config(args.config))
    decision = planner.plan(task, observation, Memory(planner.config.memory_entries))
    if args.json:
        from si_embodied.evaluation.episode import plan_entry
        from si_embodied.evaluation.records import plan_to_json

        row = {"instruction": task.instruction, **plan_to_json(plan_entry(decision), args.seed, 0)}
        console.print(json.dumps(row), markup=False, highlight=False, soft_wrap=True)
    else:
        _show(console, task, decision)
    return 0


def _from_episode(args: argparse.Namespace) -> Scene:
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.registry import make_env, observe
    from si_embodied.policies.controllers import make_controller
    from si_embodied.types import Task

    config = EvaluationConfig(
        env=args.env, policy="planner", task=args.task, image_size=args.image_size, action_mode=args.action_mode
    )
    env = make_env(config)
    try:
        raw, _ = env.reset(seed=args.seed)
        world: Any = env.unwrapped
        body = make_controller(world.embodiment)
        body.reset()
        observation = observe(raw, world.embodiment.cameras)
        body.update(observation)
        return Task(str(raw["instruction"]), world.kind), body.prepare(observation), world.embodiment
    finally:
        env.close()


# --- files ----------------------------------------------------------------------------------------------------------


def _from_files(args: argparse.Namespace) -> Scene:
    import numpy as np

    from si_embodied.errors import ConfigError
    from si_embodied.geometry import Pose
    from si_embodied.types import CameraFrame, Observation, Task

    if not args.instruction:
        raise ConfigError("an observation from files needs --instruction TEXT")
    rgb = np.asarray(_image(args.rgb).convert("RGB"), dtype=np.uint8)
    depth = None if args.depth is None else _depth(args.depth)
    # Looking along the map's x: the optical axis is x, its right is -y, its down is -z; then tilted about its right.
    level = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    tilted = Pose.from_rpy(math.radians(args.camera_tilt), 0.0, 0.0)
    T_map_camera = Pose((level @ tilted).rotation, np.array([0.0, 0.0, args.camera_height]))
    frame = CameraFrame("head", 0.0, rgb, depth, _intrinsics(args, rgb.shape[1], rgb.shape[0]), T_map_camera)
    observation = Observation(0.0, (frame,), Pose.identity())
    return Task(args.instruction, args.kind), observation, _generic_robot(args.kind)


def _image(path: Path) -> Any:
    from si_embodied.errors import ObservationError, extra

    with extra("sim"):
        from PIL import Image, UnidentifiedImageError
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise ObservationError(f"no such image: {str(path)!r}") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ObservationError(
            f"{str(path)!r} is not an image that Pillow reads ({error}); give PNG or JPEG"
        ) from error


def _depth(path: Path) -> Any:
    """Metres as float32: an array as it is, an image as millimetres."""
    import numpy as np

    from si_embodied.errors import ObservationError

    if path.suffix != ".npy":
        image = np.asarray(_image(path))
        if image.ndim != 2 or image.dtype == np.uint8:
            raise ObservationError(
                f"{str(path)!r} is not a 16-bit depth image (it is {image.dtype}, {image.shape}); "
                "give millimetres as a 16-bit PNG, or metres as .npy"
            )
        return image.astype(np.float32) / 1000
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except FileNotFoundError as error:
        raise ObservationError(f"no such depth file: {str(path)!r}") from error
    except (ValueError, EOFError) as error:
        raise ObservationError(f"{str(path)!r} is not a numpy array file: {error}") from error


def _intrinsics(args: argparse.Namespace, width: int, height: int) -> Any:
    from si_embodied.errors import ConfigError
    from si_embodied.geometry import Intrinsics

    if args.intrinsics is None:
        return Intrinsics.from_vertical_fov(width, height, math.radians(args.fov))
    try:
        fx, fy, cx, cy = (float(part) for part in args.intrinsics.split(","))
    except ValueError as error:
        raise ConfigError(
            f"expected --intrinsics as four numbers fx,fy,cx,cy in pixels, got: {args.intrinsics!r}"
        ) from error  # fmt: skip
    return Intrinsics(width, height, fx, fy, cx, cy)


def _generic_robot(kind: str) -> Embodiment:
    """About what a service robot is, for files that do not say."""
    from si_embodied.embodiment import MobileBase, TableArm

    if kind == "manipulation":
        return TableArm(
            cameras=("head",),
            action_mode="pose",
            workspace_m=((-2.0, -2.0, 0.0), (2.0, 2.0, 2.0)),
            shoulder_m=(0.0, 0.0, 0.8),
            reach_m=1.5,
            max_opening_m=0.1,
            finger_depth_m=0.02,
            home_m=(0.4, 0.0, 1.2),
            control_period_s=1.0,
        )
    return MobileBase(
        cameras=("head",),
        action_mode="discrete",
        radius_m=0.28,
        height_m=1.2,
        forward_step_m=0.25,
        turn_step_rad=math.radians(15),
        tilt_step_rad=math.radians(15),
        tilt_range_rad=(math.radians(-45), math.radians(45)),
        max_speed_m_s=1.0,
        max_turn_rate_rad_s=1.5,
        control_period_s=0.5,
        success_distance_m=1.0,
    )


# --- what is shown --------------------------------------------------------------------------------------------------


def _show(console: Console, task: Task, decision: Decision) -> None:
    from rich.table import Table
    from rich.text import Text

    from si_embodied.types import Execute

    record = decision.record
    table = Table(show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str, style: str = "") -> None:
        table.add_row(name, Text(value, style))  # a Text: a model's answer is not markup

    row("instruction", task.instruction)
    row("answer", "\n".join(record.raw_text) or "none")
    if isinstance(decision, Execute):
        for goal in decision.goals:
            row("goal", goal.words)
    else:
        row("hold", f"{decision.code.name} ({int(decision.code)}): {decision.message}", "red")
    row("model", f"{record.model}, {record.kernel}, {record.dtype}; prompt {record.prompt_version}")
    row("tokens", f"{record.prompt_tokens} in, {record.completion_tokens} out")
    row("milliseconds", ", ".join(f"{part} {1000 * seconds:.1f}" for part, seconds in record.latency_s.items()))
    console.print(table)
