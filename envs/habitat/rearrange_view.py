"""What the robot of a rearrangement sees: a `RearrangeView` is a simulator that renders a world's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from si_embodied.envs.mujoco.renderer import select_renderer
from si_embodied.envs.scenes.mjcf import apartment_mjcf

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.apartment_view import ApartmentView  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.rearrange_world import Layout, RearrangeWorld
    from si_embodied.types import CameraFrame

AWAY_M = -10.0
"""Height, below every floor, of bodies that must not be visible."""


class RearrangeView(Protocol):
    """A simulator that renders; call `show` before the other methods."""

    def show(self, world: RearrangeWorld) -> None:
        """Load a world: its apartment and its movable objects."""

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an object or a piece of furniture."""

    def close(self) -> None:
        """Free the renderer; `show` opens a new one."""


def make_view(simulator: str, camera: CameraSetup, image_size: int) -> RearrangeView:
    """The view of a simulator, given its name.

    Raises:
        ConfigError: habitat-sim is requested but not installed in this Python.
    """
    if simulator == "habitat-sim":
        from si_embodied.envs.habitat.lab import load_real

        return cast("RearrangeView", load_real("real_rearrange").HabitatSimView(camera, image_size))
    return MujocoView(camera, image_size)


class MujocoView:
    """Rendered by MuJoCo, in which every movable object is a mocap body."""

    def __init__(self, camera: CameraSetup, image_size: int) -> None:
        """Prepare to render square images of `image_size` pixels; nothing opens before `show`."""
        self._camera, self._size = camera, image_size
        self._view: ApartmentView | None = None

    def show(self, world: RearrangeWorld) -> None:
        """Compile the apartment with its objects."""
        self.close()
        camera, apartment = self._camera, world.stage.apartment
        scene = apartment_mjcf(
            apartment, camera_height_m=camera.height_m, fov_y_rad=camera.fov_y_rad, movable=world.movable
        )
        self._view = ApartmentView(scene, mujoco.MjModel.from_xml_string(scene.xml), camera, self._size)

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""
        return self._placed(layout).frame(stamp_s)

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an object or a piece of furniture."""
        return self._placed(layout).mask(name)

    def _placed(self, layout: Layout) -> ApartmentView:
        """The view, with the robot and the objects where a layout says."""
        if self._view is None:
            raise RuntimeError("no world is loaded; reset the environment first")
        movable = {name: (0.0, 0.0, AWAY_M) if place is None else place for name, place in layout.places.items()}
        self._view.place(layout.pose, layout.tilt_rad, movable)
        return self._view

    def close(self) -> None:
        """Free the renderer."""
        if self._view is not None:
            self._view.close()
            self._view = None
