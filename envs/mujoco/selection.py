"""Chooses the best renderer that works on this machine, by trying them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from si_embodied.envs.mujoco import gl
from si_embodied.errors import MissingExtraError, RendererError, UnknownNameError
from si_embodied.runs import write_json

RendererName: TypeAlias = Literal["egl", "osmesa", "wheel-osmesa", "rays"]
RENDERERS: tuple[RendererName, ...] = get_args(RendererName)  # best first
ENVIRONMENT_VARIABLE = "SI_EMBODIED_RENDERER"

_PROBE_TIMEOUT_S = 60.0
_CACHE_AGE_S = 24 * 3600.0  # notices a new or removed driver within a day, even if the fingerprint misses it

_FIXES = {
    "egl": "install libegl1 libegl-mesa0 libgl1-mesa-dri (Debian, Ubuntu), or the GPU vendor's driver",
    "osmesa": "install libosmesa6 (Debian, Ubuntu)",
    "wheel-osmesa": "pip install --no-deps lavavu-osmesa",
    "rays": "pip install 'si-embodied[sim]'",
}


@dataclass(frozen=True, slots=True)
class RendererChoice:
    """The chosen renderer, and why."""

    name: RendererName
    reason: str


def _probe(name: str) -> str | None:
    """Try a kind of OpenGL in a separate process; None if it works, otherwise the fault."""
    if name == "wheel-osmesa" and gl.wheel_libraries() is None:
        return "the package lavavu-osmesa is not installed"
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, str(Path(gl.__file__).resolve()), name]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the trial did not finish: {error}"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the trial ended with exit status {done.returncode}"


def _cache_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "si_embodied" / "renderer.json"


def _fingerprint() -> dict[str, object]:
    """What the choice depends on: versions, the linker's cache, the boot, the wheel, the selected device."""

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "absent"

    def content(path: str) -> str:
        try:
            return Path(path).read_text().strip()
        except OSError:
            return ""

    linker = Path("/etc/ld.so.cache")
    return {
        "python": sys.version,
        "prefix": sys.prefix,
        "mujoco": version("mujoco"),
        "PyOpenGL": version("PyOpenGL"),
        "lavavu-osmesa": version("lavavu-osmesa"),
        "linker": linker.stat().st_mtime if linker.exists() else 0.0,
        "boot": content("/proc/sys/kernel/random/boot_id"),
        "environment": [os.environ.get(key, "") for key in ("LD_LIBRARY_PATH", "MUJOCO_EGL_DEVICE_ID")],
    }


def _cached(fingerprint: dict[str, object]) -> RendererChoice | None:
    try:
        entry = json.loads(_cache_path().read_text())
        fresh = entry["fingerprint"] == fingerprint and 0 <= time.time() - entry["time"] < _CACHE_AGE_S
        if fresh and entry["name"] in RENDERERS:
            return RendererChoice(entry["name"], str(entry["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # missing, truncated or foreign file: probing again takes a second and is always right
    return None


def _remember(choice: RendererChoice, fingerprint: dict[str, object]) -> None:
    path = _cache_path()
    entry = {"fingerprint": fingerprint, "time": time.time(), "name": choice.name, "reason": choice.reason}
    try:
        write_json(path, entry)
    except OSError:
        pass  # a read-only home only costs a second at every start


def forget_cached_choice() -> None:
    """Probe again at the next `select_renderer`: the cached choice turned out to be wrong."""
    _select.cache_clear()
    with contextlib.suppress(OSError):
        _cache_path().unlink(missing_ok=True)


def _require_mujoco() -> None:
    if importlib.util.find_spec("mujoco") is None:
        raise MissingExtraError("mujoco", "sim")


@cache
def _select(preference: str | None) -> RendererChoice:
    _require_mujoco()
    if preference is not None:
        if preference not in RENDERERS:
            raise UnknownNameError("renderer", preference, RENDERERS)
        fault = None if preference == "rays" else _probe(preference)
        if fault:
            fix = _FIXES[preference]
            raise RendererError(f"renderer {preference!r} was requested but does not work here: {fault}. Fix: {fix}.")
        return RendererChoice(preference, "requested")
    fingerprint = _fingerprint()
    known = _cached(fingerprint)
    if known is not None:
        return known
    faults: list[str] = []
    for name in gl.GL_NAMES:
        fault = _probe(name)
        if fault is None:
            reason = "; ".join(["the best that works here", *faults])
            choice = RendererChoice(cast("RendererName", name), reason)
            break
        faults.append(f"{name}: {fault}")
    else:
        choice = RendererChoice("rays", "; ".join(["no OpenGL works here, so rendering is slow", *faults]))
    _remember(choice, fingerprint)
    return choice


def select_renderer(preference: str | None = None) -> RendererChoice:
    """The renderer for this process: EGL, the system's OSMesa, the OSMesa of `lavavu-osmesa`, or rays without OpenGL.

    The first call on a machine tries them in separate processes (about a second) and caches the choice in the user's
    cache folder, where later calls and other processes read it.

    Args:
        preference: one of `RENDERERS`, which then must work; None takes `SI_EMBODIED_RENDERER` from the environment, or
            else the best that works.

    Raises:
        UnknownNameError: unknown renderer.
        RendererError: the requested renderer does not work here; the message names the fix.
        MissingExtraError: mujoco is not installed.
    """
    choice = _select(preference or os.environ.get(ENVIRONMENT_VARIABLE) or None)
    if choice.name != "rays" and "mujoco" not in sys.modules:
        os.environ["MUJOCO_GL"] = "egl" if choice.name == "egl" else "osmesa"
    return choice
