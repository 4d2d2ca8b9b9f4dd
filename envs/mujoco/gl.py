"""Creates an OpenGL context without a display, and probes whether that works.

MuJoCo loads the OpenGL named by `MUJOCO_GL` and fails late and badly if it is missing. So each candidate is tried in a
separate process: `python gl.py NAME` renders one image and exits with 0.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from si_embodied.errors import RendererError

GL_NAMES = ("egl", "osmesa", "wheel-osmesa")

_PROBE_XML = """<mujoco><visual><quality offsamples="0"/></visual>
<worldbody><light pos="0 0 3"/><geom type="sphere" size="0.5" rgba="1 1 1 1"/></worldbody></mujoco>"""


class GlContext(Protocol):
    """The common interface of MuJoCo's context classes."""

    def make_current(self) -> None:
        """Make this the thread's current context."""

    def free(self) -> None:
        """Free the context."""


def wheel_libraries() -> tuple[Path, tuple[Path, ...]] | None:
    """The libOSMesa of the PyPI package `lavavu-osmesa` and the libraries that it needs, without importing it."""
    for entry in sys.path:
        found = sorted(Path(entry or ".").glob("lavavu_osmesa.libs/*.so*"))
        mesa = [path for path in found if path.name.startswith("libOSMesa")]
        if mesa:
            return mesa[0], tuple(path for path in found if path not in mesa)
    return None


def _load_wheel_osmesa() -> None:
    """Make PyOpenGL and MuJoCo use the bundled libOSMesa."""
    libraries = wheel_libraries()
    if libraries is None:
        raise ImportError("the package lavavu-osmesa is not installed")
    library, pending = libraries
    # They depend on each other in an order that differs by version: retry those that failed until none is left.
    while pending:
        failed = []
        for path in pending:
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                failed.append(path)
        if len(failed) == len(pending):
            break
        pending = tuple(failed)
    handle = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    platform: Any = importlib.import_module("OpenGL.platform")
    # PyOpenGL searches for the library by its plain name only, and caches the result (here None) in these attributes.
    platform.PLATFORM.GL = platform.PLATFORM.OSMesa = platform.OSMesa = handle
    for name in ("GetCurrentContext", "CurrentContextIsValid", "getExtensionProcedure"):
        vars(platform.PLATFORM).pop(name, None)
    for name in ("GetCurrentContext", "CurrentContextIsValid"):
        setattr(platform, name, getattr(platform.PLATFORM, name))


def make_context(name: str, width: int, height: int) -> GlContext:
    """An OpenGL context of the named kind, for this process.

    Raises:
        RendererError: this kind does not work here, or this process already uses another kind.
    """
    kind = "egl" if name == "egl" else "osmesa"
    # MuJoCo's library reads this when it loads OpenGL's functions, even after mujoco has been imported.
    os.environ["MUJOCO_GL"] = kind
    if "OpenGL.platform" not in sys.modules:
        os.environ["PYOPENGL_PLATFORM"] = kind
    try:
        if name == "wheel-osmesa" and "mujoco.osmesa" not in sys.modules:
            _load_wheel_osmesa()
        context: GlContext = importlib.import_module(f"mujoco.{kind}").GLContext(width, height)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise RendererError(f"could not create an OpenGL context of kind {name!r}: {error}") from error
    return context


class _Idle(threading.local):
    """The contexts of this thread that nothing uses, by process and kind. A forked process cannot use its parent's."""

    def __init__(self) -> None:
        """None at first."""
        self.contexts: dict[tuple[int, str], GlContext] = {}


_idle = _Idle()


def take_context(name: str, width: int, height: int) -> GlContext:
    """An OpenGL context that no one else uses: an idle one of this thread, or else a new one.

    A software renderer compiles its shaders anew in every context, which takes 0.25 s, and each episode has a world.

    Raises:
        RendererError: as `make_context`.
    """
    return _idle.contexts.pop((os.getpid(), name), None) or make_context(name, width, height)


def put_back(context: GlContext, name: str) -> None:
    """Keep a context, from which everything was freed, for this thread's next `take_context`; one of each kind."""
    if _idle.contexts.setdefault((os.getpid(), name), context) is not context:
        context.free()


def free_idle() -> None:
    """Free what this thread has put back."""
    for key in [key for key in _idle.contexts if key[0] == os.getpid()]:
        _idle.contexts.pop(key).free()


def draw_one(name: str) -> None:
    """Render one small image with the named kind of OpenGL.

    Raises:
        RendererError: rendering fails, or the image is black.
    """
    context = make_context(name, 16, 16)
    import mujoco
    import numpy as np

    model = mujoco.MjModel.from_xml_string(_PROBE_XML)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    context.make_current()
    mujoco_context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, mujoco_context)
    scene, camera = mujoco.MjvScene(model, maxgeom=10), mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    viewport, rgb = mujoco.MjrRect(0, 0, 16, 16), np.zeros((16, 16, 3), np.uint8)
    mujoco.mjr_render(viewport, scene, mujoco_context)
    mujoco.mjr_readPixels(rgb, None, viewport, mujoco_context)
    mujoco_context.free()
    context.free()
    if not rgb.any():
        raise RendererError(f"OpenGL of kind {name!r} rendered a black image")


if __name__ == "__main__":
    try:
        draw_one(sys.argv[1])
    except RendererError as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(1)
    # Software OpenGL sometimes crashes in its exit handlers; the result is known by now.
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(0)
