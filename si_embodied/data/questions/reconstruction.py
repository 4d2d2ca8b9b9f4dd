"""Mental reconstruction: combining several views of one place."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.marks import draw_marks
from si_embodied.data.questions.base import (
    LeftOut,
    Question,
    Slot,
    balanced_choice,
    pick,
    question,
    shuffled,
    some_view,
)
from si_embodied.data.questions.visibility import apart, clear_objects, enough_px, ground, marked
from si_embodied.geometry import deproject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.data.scenes import Scene
    from si_embodied.data.views import LabelledView, SeenObject

_TILT_RAD = -0.35
_STANDS_APART_M = 0.9
_FLOOR_M = 0.02


def _pairs(
    scene: Scene, rng: np.random.Generator
) -> list[tuple[LabelledView, LabelledView, set[int]]]:  # fmt: skip
    """Pairs of views in random order, with the ids of the objects that are clear in both."""
    pairs = []
    for a, b in shuffled(rng, list(itertools.permutations(scene.views, 2))):
        both = {o.id for o in clear_objects(a)} & {o.id for o in clear_objects(b)}
        pairs.append((a, b, both))
    return pairs


def _by_id(view: LabelledView) -> dict[int, SeenObject]:
    return {o.id: o for o in clear_objects(view)}


def camera_pose(view: LabelledView) -> tuple[float, float, float, float]:
    """The head camera's pose: x, y (metres), yaw, tilt (radians, up positive)."""
    T = view.frame.T_map_camera
    ahead = T.rotation[:, 2]
    return float(T.translation[0]), float(T.translation[1]), math.atan2(ahead[1], ahead[0]), math.asin(ahead[2])


@question("reconstruction.same_object", "apartment")
def same_object(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of three objects marked in the second view is the one marked in the first, by id."""
    for first, second, both in _pairs(scene, rng):
        others = [o for o in clear_objects(second) if o.id not in both]
        others += [o for o in clear_objects(second) if o.id in both]
        if not both or len(others) < 3:
            continue
        target = pick(rng, sorted(both))
        wrong = [o for o in shuffled(rng, others) if o.id != target][:2]
        right = _by_id(second)[target]
        label = slot.content(3)
        order = [*wrong[:label], right, *wrong[label:]]
        images = (marked(first, (_by_id(first)[target],), ("0",)), marked(second, order, ("1", "2", "3")))
        text = "Two views of one home. Which mark in the second image is on the same object as mark 0 in the first?"
        return balanced_choice(text, images, ("mark 1", "mark 2", "mark 3"), label, slot, rng)
    raise LeftOut("no two views of one object")


@question("reconstruction.camera_motion", "apartment")
def camera_motion(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """What the robot did between two views: it either turned by 20 to 35 degrees or drove 0.5 to 0.9 m."""
    view = some_view(scene, rng)
    if scene.look is None or scene.grid is None:
        raise LeftOut("no camera to move")
    x, y, yaw, tilt = camera_pose(view)
    wanted, turn, drive_m = slot.content(4), math.radians(rng.uniform(20, 35)), float(rng.uniform(0.5, 0.9))
    names = ("turned left", "turned right", "drove forward", "drove backward")
    if wanted < 2:
        yaw += turn if wanted == 0 else -turn
    else:
        drive_m = drive_m if wanted == 2 else -drive_m
        for share in (0.25, 0.5, 0.75, 1.0):
            cell = scene.grid.cell(x + share * drive_m * math.cos(yaw), y + share * drive_m * math.sin(yaw))
            if not scene.grid.free[cell]:
                raise LeftOut("the path is blocked")
        x, y = x + drive_m * math.cos(yaw), y + drive_m * math.sin(yaw)
    after = scene.look(x, y, yaw, tilt)
    if not _by_id(view).keys() & _by_id(after).keys():
        raise LeftOut("no two views of one object")
    text = "The second image was taken a moment after the first. What did the robot do in between?"
    return balanced_choice(text, (view.frame.rgb, after.frame.rgb), names, wanted, slot, rng)


@question("reconstruction.count", "apartment")
def count(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """How many different objects have a dot, with two dots in each of two views: four minus those dotted twice."""
    wanted = 2 + slot.content(3)
    shared = 4 - wanted
    for first, second, both in _pairs(scene, rng):
        twice = shuffled(rng, sorted(both))[:shared]
        # An object dotted once must not be one of the other view's dotted objects.
        only_first = [o.id for o in clear_objects(first) if o.id not in twice]
        once = shuffled(rng, only_first)[: 2 - shared]
        only_second = [o.id for o in clear_objects(second) if o.id not in twice and o.id not in once]
        again = shuffled(rng, only_second)[: 2 - shared]
        if len(twice) < shared or len(once) < 2 - shared or len(again) < 2 - shared:
            continue
        if shared == 0 and not both:
            continue  # views with no object in common would reveal that all four differ
        try:
            images = tuple(
                marked(view, [_by_id(view)[i] for i in (*twice, *own)], ("", ""))
                for view, own in ((first, once), (second, again))
            )
        except LeftOut:
            continue
        text = "Two views of one home, with two dots in each. On how many different objects are the four dots?"
        return balanced_choice(text, images, ("two", "three", "four"), wanted - 2, slot, rng)
    raise LeftOut("no two views of enough objects")


def _floor_points(scene: Scene, view: LabelledView, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Three pixels of free floor where the robot can stand, at least `_STANDS_APART_M` from each other."""
    depth, K, grid = view.frame.depth_m, view.frame.intrinsics, scene.grid
    if depth is None or grid is None:
        raise LeftOut("no depth")
    points: list[tuple[int, int]] = []
    places = np.empty((0, 2))
    rows, columns = np.nonzero((view.instances == -1) & (depth > 0.5))
    margin = K.width // 14
    for k in rng.permutation(len(rows))[:200]:
        u, v = int(columns[k]), int(rows[k])
        if not (margin <= u < K.width - margin and margin <= v < K.height - margin):
            continue
        x, y, z = view.frame.T_map_camera.apply(deproject(K, (u, v), depth[v, u]))
        if abs(z) > _FLOOR_M or not grid.free[grid.cell(x, y)]:
            continue
        if len(places) and np.linalg.norm(places - (x, y), axis=1).min() < _STANDS_APART_M:
            continue
        if apart(view, [*points, (u, v)], 3.0):
            points.append((u, v))
            places = np.vstack([places, (x, y)])
        if len(points) == 3:
            return points
    raise LeftOut("not enough free floor in view")


def _stand(view: LabelledView, u: int, v: int) -> NDArray[np.float64]:
    assert view.frame.depth_m is not None  # checked by _floor_points
    return view.frame.T_map_camera.apply(deproject(view.frame.intrinsics, (u, v), view.frame.depth_m[v, u]))[:2]


@question("reconstruction.viewpoint", "apartment")
def viewpoint(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """From which of three marked positions on the floor a second image was taken; the images share an object."""
    view = some_view(scene, rng)
    if scene.look is None:
        raise LeftOut("no camera to move")
    points = _floor_points(scene, view, rng)
    label = slot.content(3)
    place = _stand(view, *points[label])
    targets = [o for o in clear_objects(view) if np.linalg.norm(ground(o) - place) > 0.8]
    if not targets:
        raise LeftOut("nothing to look at from there")
    ahead = ground(pick(rng, targets)) - place
    second = scene.look(float(place[0]), float(place[1]), math.atan2(ahead[1], ahead[0]), _TILT_RAD)
    both = _by_id(view).keys() & {o.id for o in second.objects if o.pixels >= enough_px(second, 400)}
    if not both:
        raise LeftOut("no two views of one object")
    image = draw_marks(view.frame.rgb, [(u, v, str(k + 1)) for k, (u, v) in enumerate(points)])
    text = "From which of the places marked on the floor of the first image was the second image taken?"
    return balanced_choice(text, (image, second.frame.rgb), ("place 1", "place 2", "place 3"), label, slot, rng)
