"""Labelled views of household objects on furniture, from where a robot would handle them."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.views import SceneObject, furniture_of, label_view
from si_embodied.envs.apartment_view import ApartmentView
from si_embodied.envs.episode import CameraSetup
from si_embodied.envs.habitat.household import CONTAINERS, ITEM_COLOURS, ITEMS, Item
from si_embodied.envs.habitat.rearrange import draw_world
from si_embodied.envs.habitat.rearrange_tasks import Skill
from si_embodied.envs.scenes.mjcf import apartment_mjcf
from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.data.views import LabelledView
    from si_embodied.envs.habitat.rearrange_world import RearrangeWorld

import mujoco  # after `views`, which selects the renderer

_MOST_ON_A_PIECE = 3
_OFF_RAD = math.radians(15.0)
"""The camera is turned and tilted from where it looks at a piece of furniture by up to this."""


class HouseholdStage:
    """An apartment with one object of every household category, each in a random colour, on random furniture."""

    def __init__(self, seed: int, *, image_size: int = 224) -> None:
        """Draw the apartment of a rearrangement episode with this seed, and other objects for it.

        Raises:
            SceneError: no apartment of the seed has furniture for objects.
        """
        rng = np.random.default_rng((seed, 17))
        camera = CameraSetup()
        self.world = _furnished(draw_world(seed, "base", camera), rng)
        apartment = self.world.stage.apartment
        scene = apartment_mjcf(
            apartment, camera_height_m=camera.height_m, fov_y_rad=camera.fov_y_rad, movable=self.world.movable
        )
        self._view = ApartmentView(scene, mujoco.MjModel.from_xml_string(scene.xml), camera, image_size)
        self._names = [piece.name for piece in apartment.furniture] + [item.name for item in self.world.task.items]
        self.items = tuple(item.phrase for item in self.world.task.items)
        self.objects = (*furniture_of(apartment), *map(self._describe, self.world.task.items))

    def views(self, rng: np.random.Generator) -> Iterator[LabelledView]:
        """An endless stream of views from where the robot handles furniture with objects on it."""
        places = sorted(set(self.world.where.values()))
        while True:
            for place in rng.permutation(places):
                self.world.do(Skill("navigate", str(place), ""))
                x, y, yaw = self.world.pose
                turn, tilt = rng.uniform(-_OFF_RAD, _OFF_RAD, 2)
                self.world.pose = x, y, yaw + float(turn)
                self.world.tilt_rad += float(tilt)
                layout = self.world.layout()
                self._view.place(layout.pose, layout.tilt_rad, {name: at for name, at in layout.places.items() if at})
                yield label_view(self._view.frame(0.0), self._view.instances(self._names), self.objects, None)

    def close(self) -> None:
        """Release the renderer."""
        self._view.close()

    def _describe(self, item: Item) -> SceneObject:
        ends = [(np.subtract(part.centre, part.half), np.add(part.centre, part.half)) for part in item.parts]
        low, high = np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)
        position = self.world.layout().places[item.name]
        assert position is not None  # no container is closed here
        pose = Pose(np.eye(3), np.asarray(position) + (low + high) / 2)
        return SceneObject(item.phrase, item.category, item.colour, pose, high - low, None, True)


def _furnished(world: RearrangeWorld, rng: np.random.Generator) -> RearrangeWorld:
    """The world with new objects on its furniture."""
    apartment = world.stage.apartment
    room = {
        name: min(len(spots), _MOST_ON_A_PIECE)
        for name, spots in sorted(world.spots.items())
        if spots and name in world.task.places and apartment.piece(name).category not in CONTAINERS
    }
    slots = [name for name, count in room.items() for _ in range(count)]
    chosen = rng.permutation(len(slots))[: len(ITEMS)]
    kinds = [str(kind) for kind in rng.permutation(sorted(ITEMS))]
    items = tuple(Item(kind, str(rng.choice(ITEM_COLOURS))) for kind in kinds[: len(chosen)])
    start = {item.name: slots[int(slot)] for item, slot in zip(items, chosen, strict=True)}
    task = dataclasses.replace(world.task, items=items, start=start, conditions=())
    return dataclasses.replace(world, task=task)
