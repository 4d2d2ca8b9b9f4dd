"""What is installed, what renders, what computes, and so what can run; for `si-embodied doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable
from dataclasses import dataclass

from si_embodied import __version__

# For each extra, the modules it needs and the distribution of each.
EXTRAS: dict[str, dict[str, str]] = {
    "sim": {
        "mujoco": "mujoco", "gymnasium": "gymnasium", "gymnasium_robotics": "gymnasium-robotics", "mink": "mink",
        "daqp": "daqp", "scipy": "scipy", "trimesh": "trimesh", "PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg",
        "jinja2": "jinja2", "matplotlib": "matplotlib",
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
    """The findings."""

    versions: dict[str, str]  # si-embodied, python, platform
    extras: dict[str, dict[str, str | None]]  # versions by extra and distribution, None if missing
    renderer: str | None  # None if nothing renders
    renderer_reason: str
    device: str | None  # None without torch
    dtype: str | None
    kernel: str | None  # of attention
    threads: int | None
    opencv_error: str  # why an installed OpenCV cannot be imported; empty: it can, or is not installed
    can: dict[str, bool]  # "eval": worlds run; "planner": a checkpoint runs; …


def check() -> Checkup:
    """Look without installing, changing or leaving anything."""
    extras = {
        extra: {dist: _version(module, dist) for module, dist in needs.items()} for extra, needs in EXTRAS.items()
    }
    complete = {extra: None not in needs.values() for extra, needs in extras.items()}
    name, reason = renderer() if complete["sim"] else (None, "the extra sim is incomplete")
    device, dtype, kernel, threads = _compute() if complete["models"] else (None, None, None, None)
    opencv_error = _opencv_error() if extras["ros"]["opencv-python"] else ""
    return Checkup(
        versions={"si-embodied": __version__, "python": platform.python_version(), "platform": platform.platform()},
        extras=extras,
        renderer=name,
        renderer_reason=reason,
        device=device,
        dtype=dtype,
        kernel=kernel,
        threads=threads,
        opencv_error=opencv_error,
        can={
            "eval": complete["sim"] and name is not None,
            "planner": complete["models"],
            "tuning": complete["models"] and complete["train"],
            "ros": complete["ros"] and not opencv_error,
            "habitat": complete["habitat"],
            "serve": complete["serve"],
        },
    )


def advice(found: Checkup) -> list[str]:
    """What to install for running worlds and checkpoints."""
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


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed, by name."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _version(module: str, distribution: str) -> str | None:
    """A distribution's version, without an import, which could take seconds or fail."""
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    return installed_versions((distribution,)).get(distribution, "installed")


def renderer() -> tuple[str | None, str]:
    """The renderer that works, None if there is none, and why."""
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
