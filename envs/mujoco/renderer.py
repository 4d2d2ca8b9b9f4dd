"""Renders a MuJoCo model: colour, depth and segmentation of a camera, by OpenGL or by rays."""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from si_embodied.envs.mujoco import gl
from si_embodied.envs.mujoco.selection import (
    ENVIRONMENT_VARIABLE,
    forget_cached_choice,
    select_renderer,
)
from si_embodied.errors import RendererError, UnknownNameError

if TYPE_CHECKING:
    import mujoco
    from numpy.typing import NDArray

__all__ = ["MAX_RANGE_M", "SceneRenderer", "camera_id", "select_renderer"]

MAX_RANGE_M = 20.0  # of the depth camera; no return beyond it

_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()
_closes_at_exit = False


class Pipeline(Protocol):
    """A rendering back end; images have the top row first."""

    def draw(
        self, data: mujoco.MjData, camera: int | mujoco.MjvCamera, *, depth: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Colour (H, W, 3) and, on request, depth (H, W) in metres along the optical axis, inf without a hit."""

    def segment(self, data: mujoco.MjData, camera: int | mujoco.MjvCamera) -> NDArray[np.int32]:
        """Geom ids (H, W), -1 for none."""

    def close(self) -> None:
        """Free the resources."""


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()
    gl.free_idle()


def camera_id(model: mujoco.MjModel, camera: str | int) -> int:
    """The id of a camera of the model, given its name or id.

    Raises:
        UnknownNameError: the model has no such camera.
    """
    if isinstance(camera, str):
        names = [model.camera(i).name for i in range(model.ncam)]
        if camera not in names:
            raise UnknownNameError("camera", camera, names)
        return names.index(camera)
    if not 0 <= camera < model.ncam:
        raise UnknownNameError("camera", camera, [str(i) for i in range(model.ncam)])
    return camera


class GlPipeline:
    """Renders with OpenGL: one pass gives both colour and depth."""

    def __init__(
        self, model: mujoco.MjModel, height: int, width: int, name: str, hidden_groups: tuple[int, ...]
    ) -> None:
        """Upload the model to a context; `name` is one of `gl.GL_NAMES`."""
        self._name, self._context = name, gl.take_context(name, width, height)
        import mujoco

        self._mujoco: Any = mujoco
        self._model = model
        # Multisampling is most of the cost of a software renderer, the buffer need not be larger than the image, and a
        # shadow map of 4096 x 4096, which takes 0.1 s to create, is useless without shadows.
        visual = model.vis
        glob, quality = visual.global_, visual.quality
        kept = glob.offwidth, glob.offheight, quality.offsamples, quality.shadowsize
        glob.offwidth, glob.offheight, quality.offsamples, quality.shadowsize = width, height, 0, 16
        self._context.make_current()
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        glob.offwidth, glob.offheight, quality.offsamples, quality.shadowsize = kept
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._mjr.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False
        self._option, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        for group in hidden_groups:
            self._option.geomgroup[group] = 0
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._shape = (height, width)

    def _render(self, data: mujoco.MjData, camera: int | mujoco.MjvCamera) -> None:
        mj = self._mujoco
        view = camera
        if isinstance(camera, int):
            view = self._view
            view.type, view.fixedcamid = mj.mjtCamera.mjCAMERA_FIXED, camera
        mj.mjv_updateScene(self._model, data, self._option, None, view, mj.mjtCatBit.mjCAT_ALL, self._scene)
        self._context.make_current()
        mj.mjr_render(self._viewport, self._scene, self._mjr)

    def draw(
        self, data: mujoco.MjData, camera: int | mujoco.MjvCamera, *, depth: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Colour and depth in one pass."""
        self._render(data, camera)
        rgb = np.empty((*self._shape, 3), np.uint8)
        buffer = np.empty(self._shape, np.float32) if depth else None
        self._mujoco.mjr_readPixels(rgb, buffer, self._viewport, self._mjr)
        rgb = np.ascontiguousarray(rgb[::-1])
        return rgb, None if buffer is None else self._metres(buffer[::-1])

    def _metres(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo the projection: MuJoCo's depth buffer is 1 at the near plane and 0 at the far one, linear in 1/z."""
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        inverse = buffer * np.float32(1 / near - 1 / far)
        inverse += np.float32(1 / far)
        np.reciprocal(inverse, out=inverse)
        inverse[buffer <= 0] = np.inf
        return inverse

    def segment(self, data: mujoco.MjData, camera: int | mujoco.MjvCamera) -> NDArray[np.int32]:
        """Geom ids, from an image with each geom in the colour of its number."""
        mj, flags = self._mujoco, self._scene.flags
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = True
        try:
            self._render(data, camera)
        finally:
            flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = False
        rgb = np.empty((*self._shape, 3), np.uint8)
        mj.mjr_readPixels(rgb, None, self._viewport, self._mjr)
        channels = rgb[::-1].astype(np.int32)
        packed: NDArray[np.int32] = channels[..., 0] | channels[..., 1] << 8 | channels[..., 2] << 16
        # A geom's segment number is its scene index from 1; 0 is the background. Decor is not a geom of the model.
        count = self._scene.ngeom
        numbers = np.minimum(packed, count + 1)
        geoms = np.full(count + 2, -1, np.int32)
        for number in np.flatnonzero(np.bincount(numbers.ravel())):  # takes a tenth of np.unique's time
            if 0 < number <= count:
                geom = self._scene.geoms[number - 1]
                geoms[number] = geom.objid if geom.objtype == mj.mjtObj.mjOBJ_GEOM else -1
        image: NDArray[np.int32] = geoms[numbers]
        return image

    def close(self) -> None:
        """Free what the model has in OpenGL; the context itself may serve the next model."""
        self._context.make_current()
        self._mjr.free()
        gl.put_back(self._context, self._name)


class SceneRenderer:
    """Renders one model at one size: colour, depth and segmentation. Use it from one thread, and close it."""

    def __init__(
        self,
        model: mujoco.MjModel,
        height: int,
        width: int,
        *,
        renderer: str | None = None,
        max_range_m: float = MAX_RANGE_M,
        hidden_groups: tuple[int, ...] = (),
    ) -> None:
        """Prepare to render `model`.

        Args:
            model: the model; its own offscreen size and sampling settings are ignored.
            height: of the images, pixels.
            width: of the images, pixels.
            renderer: as in `select_renderer`.
            max_range_m: depth beyond this is no return.
            hidden_groups: geom groups (0 to 2) to hide; groups 3 to 5 are always hidden.

        Raises:
            RendererError: the chosen renderer failed.
        """
        if height < 1 or width < 1:
            raise RendererError(f"expected a positive image size, got: {height} x {width}")
        self.choice = select_renderer(renderer)
        self.model, self.height, self.width, self.max_range_m = model, height, width, max_range_m
        self._pipeline: Pipeline | None = self._make_pipeline(hidden_groups)
        global _closes_at_exit
        if not _closes_at_exit:
            # After the first context exists, so that this runs before the exit handler that shuts OpenGL down.
            atexit.register(_close_all)
            _closes_at_exit = True
        _open_renderers.add(self)

    def _make_pipeline(self, hidden_groups: tuple[int, ...]) -> Pipeline:
        if self.choice.name == "rays":
            from si_embodied.envs.mujoco.rays import RayPipeline

            return RayPipeline(self.model, self.height, self.width, hidden_groups)
        try:
            return GlPipeline(self.model, self.height, self.width, self.choice.name, hidden_groups)
        except RendererError as error:
            forget_cached_choice()
            raise RendererError(
                f"{error} It worked when it was last tried; restart to choose again, "
                f"or set {ENVIRONMENT_VARIABLE}=rays."
            ) from error

    @property
    def _open_pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise RendererError("this renderer was closed; create a new one")
        return self._pipeline

    def _camera(self, camera: str | int | mujoco.MjvCamera) -> int | mujoco.MjvCamera:
        return camera_id(self.model, camera) if isinstance(camera, (str, int)) else camera

    def rgbd(
        self, data: mujoco.MjData, camera: str | int | mujoco.MjvCamera
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Colour (H, W, 3) and depth (H, W) in metres along the optical axis, 0 = no return, of one instant."""
        rgb, depth_m = self._open_pipeline.draw(data, self._camera(camera), depth=True)
        if depth_m is None:
            raise RendererError(f"renderer {self.choice.name!r} gave no depth")
        depth_m[~(depth_m <= self.max_range_m)] = 0
        return rgb, depth_m

    def rgb(self, data: mujoco.MjData, camera: str | int | mujoco.MjvCamera) -> NDArray[np.uint8]:
        """Colour (H, W, 3)."""
        return self._open_pipeline.draw(data, self._camera(camera), depth=False)[0]

    def segmentation(self, data: mujoco.MjData, camera: str | int | mujoco.MjvCamera) -> NDArray[np.int32]:
        """Geom ids (H, W), -1 for none."""
        return self._open_pipeline.segment(data, self._camera(camera))

    def close(self) -> None:
        """Free the renderer's resources; idempotent."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        _open_renderers.discard(self)
