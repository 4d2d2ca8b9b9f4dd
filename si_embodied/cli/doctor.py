"""`si-embodied doctor`: what is installed, what renders, what computes, and so what can run here."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from si_embodied import __version__

if TYPE_CHECKING:
    from rich.table import Table

# By extra: the modules that must be there, and the distribution that brings each.
EXTRAS: dict[str, dict[str, str]] = {
    "sim": {
        "mujoco": "mujoco", "gymnasium": "gymnasium", "gymnasium_robotics": "gymnasium-robotics", "mink": "mink",
        "daqp": "daqp", "scipy": "scipy", "trimesh": "trimesh", "PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg",
    },
    "models": {
        "torch": "torch", "transformers": "transformers", "llguidance": "llguidance", "tokenizers": "tokenizers",
        "safetensors": "safetensors",
    },
    "quant": {"bitsandbytes": "bitsandbytes"},
    "train": {"peft": "peft", "accelerate": "accelerate"},
    "ros": {
        "rclpy": "ros-kilted-rclpy", "sensor_msgs": "ros-kilted-sensor-msgs", "mcap": "mcap", "cv2": "opencv-python",
    },
    "habitat": {"habitat": "habitat-lab", "habitat_sim": "habitat-sim"},
    "serve": {
        "fastapi": "fastapi", "uvicorn": "uvicorn", "msgpack": "msgpack", "httpx": "httpx",
        "prometheus_client": "prometheus-client",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found."""

    versions: dict[str, str]  # si-embodied, python, platform
    extras: dict[str, dict[str, str | None]]  # by extra and distribution: its version, None where it is missing
    renderer: str | None  # None where nothing renders
    renderer_reason: str
    device: str | None  # None without torch
    dtype: str | None
    kernel: str | None  # of attention
    threads: int | None
    opencv_error: str  # why an installed OpenCV cannot be imported; empty: it can, or is not installed
    can: dict[str, bool]  # "eval": worlds run; "planner": a checkpoint runs; …


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="what is installed and what can run",
        description="Look at what is installed, which renderer works and on what a model would run. "
        "Exits with 0 when worlds can be run (`eval`), with 1 when not.",
    )
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    parser.add_argument(
        "--has-opengl", action="store_true", help="print nothing; exit with 0 when a renderer with OpenGL works"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the check-up; 1 where `eval` cannot run."""
    from rich.console import Console

    if args.has_opengl:
        return 0 if _renderer()[0] not in (None, "rays") else 1
    console = Console()
    found = check()
    if args.json:
        console.print(json.dumps(asdict(found)), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(_table(found), highlight=False)
        for line in advice(found):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if found.can["eval"] else 1


def check() -> Checkup:
    """Look; nothing is installed, changed or left behind."""
    extras = {
        extra: {dist: _version(module, dist) for module, dist in needs.items()} for extra, needs in EXTRAS.items()
    }
    complete = {extra: None not in needs.values() for extra, needs in extras.items()}
    renderer, reason = _renderer() if complete["sim"] else (None, "the extra sim is not complete")
    device, dtype, kernel, threads = _compute() if complete["models"] else (None, None, None, None)
    opencv_error = _opencv_error() if extras["ros"]["opencv-python"] else ""
    return Checkup(
        versions={"si-embodied": __version__, "python": platform.python_version(), "platform": platform.platform()},
        extras=extras,
        renderer=renderer,
        renderer_reason=reason,
        device=device,
        dtype=dtype,
        kernel=kernel,
        threads=threads,
        opencv_error=opencv_error,
        can={
            "eval": complete["sim"] and renderer is not None,
            "planner": complete["models"],
            "tuning": complete["models"] and complete["train"],
            "ros": complete["ros"] and not opencv_error,
            "habitat": complete["habitat"],
            "serve": complete["serve"],
        },
    )


def advice(found: Checkup) -> list[str]:
    """What to do about what is missing for the two things a newcomer wants."""
    lines = []
    for extra, use in (("sim", "running worlds"), ("models", "running a checkpoint")):
        missing = [name for name, version in found.extras[extra].items() if version is None]
        if missing:
            lines.append(f"for {use}: pip install 'si-embodied[{extra}]' (missing: {', '.join(missing)})")
    if found.opencv_error:
        lines.append(found.opencv_error)
    if found.renderer is None and not lines:
        lines.append(f"nothing renders: {found.renderer_reason}")
    lines.append("worlds can be run" if found.can["eval"] else "worlds cannot be run")
    return lines


def _version(module: str, distribution: str) -> str | None:
    """Without importing: that would cost seconds, and a broken package would end the check-up."""
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "installed"


def _renderer() -> tuple[str | None, str]:
    from si_embodied.envs.mujoco.selection import select_renderer
    from si_embodied.errors import RendererError

    try:
        choice = select_renderer()
    except RendererError as error:
        return None, str(error)
    return choice.name, choice.reason


def _opencv_error() -> str:
    from si_embodied.errors import BrokenPackageError
    from si_embodied.ros_nodes.sensing.opencv import import_opencv

    try:
        import_opencv()
    except BrokenPackageError as error:
        return str(error)
    return ""


def _compute() -> tuple[str, str, str, int]:
    import torch

    from si_embodied.models.loading import place

    chosen = place()
    cuda = chosen.device.type == "cuda"
    name = torch.cuda.get_device_name(chosen.device) if cuda else f"{platform.machine()} CPU"
    return f"{chosen.device} ({name})", chosen.dtype, chosen.kernel, torch.get_num_threads()


def _table(found: Checkup) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in found.versions.items()))
    for extra, needs in found.extras.items():
        parts = [f"{name} {version}" if version else f"[red]{name} missing[/red]" for name, version in needs.items()]
        here = any(needs.values())
        table.add_row(escape(f"[{extra}]"), ", ".join(parts) if here else "[dim]not installed[/dim]")
    table.add_row("renderer", f"{found.renderer or '[red]none[/red]'}: {escape(found.renderer_reason)}")
    model = f"{found.device}, {found.dtype}, attention {found.kernel}, {found.threads} threads"
    table.add_row("model", model if found.device else "–")
    table.add_row("cores", str(os.cpu_count()))
    table.add_row("can run", ", ".join(name for name, works in found.can.items() if works) or "[red]nothing[/red]")
    return table
