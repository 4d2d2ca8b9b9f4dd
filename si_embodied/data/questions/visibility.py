"""Which objects of a view are clear enough to ask about, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.marks import draw_marks, mark_radius
from si_embodied.data.questions.base import LeftOut
from si_embodied.geometry import project
from si_embodied.grounding import point_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.data.views import LabelledView, SeenObject

_NEARER_BY = 1.3


def enough_px(view: LabelledView, pixels_at_224: int) -> float:
    """Scale a number of pixels at 224 x 224 to this view's resolution."""
    return pixels_at_224 * (view.instances.size / 224**2)


def clear_objects(view: LabelledView, pixels_at_224: int = 150) -> list[SeenObject]:
    """Objects with enough visible pixels, except rugs, which lie under everything."""
    enough = enough_px(view, pixels_at_224)
    return [o for o in view.objects if o.pixels >= enough and o.category != "rug"]


def named_objects(view: LabelledView, pixels_at_224: int = 150) -> list[SeenObject]:
    """Clear objects whose name fits nothing else in the scene."""
    return [o for o in clear_objects(view, pixels_at_224) if o.unique]


def table_objects(view: LabelledView) -> list[SeenObject]:
    """Clear objects that can be picked up from a table; bowls, bins and the sorter stand out by their size."""
    return [o for o in clear_objects(view, 45) if o.category not in ("bowl", "bin", "shape sorter")]


def in_camera(view: LabelledView, seen: SeenObject) -> NDArray[np.float64]:
    """The object's centre (3,) in the optical frame, metres."""
    return view.frame.T_map_camera.inverse().apply(seen.T_map_object.translation)


def ground(seen: SeenObject) -> NDArray[np.float64]:
    """The object's centre (2,) on the map, metres."""
    return np.asarray(seen.T_map_object.translation[:2])


def nearest_first(objects: Sequence[SeenObject], position: NDArray[np.float64]) -> list[SeenObject]:
    """Sort objects by the distance of their centres to a position (2,) on the map.

    Raises:
        LeftOut: the second is not at least 30% farther away than the first.
    """
    distance = {o.id: float(np.linalg.norm(ground(o) - position)) for o in objects}
    ranked = sorted(objects, key=lambda o: distance[o.id])
    if distance[ranked[1].id] < _NEARER_BY * distance[ranked[0].id]:
        raise LeftOut("two equally near")
    return ranked


def outline_px(view: LabelledView, seen: SeenObject) -> tuple[float, float, float, float] | None:
    """The box x0, y0, x1, y1 around the whole object, occluded or not; None if part of it is behind the camera."""
    signs = np.array([[sx, sy, sz] for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)])
    corners = seen.T_map_object.apply(signs * seen.size_m / 2)
    uv = project(view.frame.intrinsics, view.frame.T_map_camera.inverse().apply(corners))
    if not np.isfinite(uv).all():
        return None
    return float(uv[:, 0].min()), float(uv[:, 1].min()), float(uv[:, 0].max()), float(uv[:, 1].max())


def is_whole(view: LabelledView, seen: SeenObject, share: float = 0.75) -> bool:
    """Whether an object lies inside the image and at least `share` of its width and height is visible."""
    whole = outline_px(view, seen)
    if whole is None:
        return False
    width, height = view.frame.intrinsics.width, view.frame.intrinsics.height
    if whole[0] < 0 or whole[1] < 0 or whole[2] > width - 1 or whole[3] > height - 1:
        return False
    x0, y0, x1, y1 = seen.box_px
    return x1 - x0 >= share * (whole[2] - whole[0]) and y1 - y0 >= share * (whole[3] - whole[1])


def apart(view: LabelledView, points: Sequence[tuple[float, float]], radii: float = 2.4) -> bool:
    """Whether all pixels are at least `radii` mark radii apart; by default, so that their marks do not touch."""
    p = np.array(points)
    gaps = np.linalg.norm(p[:, None] - p[None], axis=-1)[np.triu_indices(len(p), 1)]
    return not len(gaps) or bool(gaps.min() >= radii * mark_radius(view.frame.intrinsics.width))


def marked(view: LabelledView, objects: Sequence[SeenObject], texts: Sequence[str]) -> NDArray[np.uint8]:
    """The view's image with a mark on each object.

    Raises:
        LeftOut: the marks would touch.
    """
    points = [one.point_px for one in objects]
    if not apart(view, points):
        raise LeftOut("marks too close together")
    return draw_marks(view.frame.rgb, [(u, v, text) for (u, v), text in zip(points, texts, strict=True)])


def relative_1000(view: LabelledView, u: float, v: float) -> tuple[int, int]:
    """A pixel in 0..1000 of its image."""
    return point_of(u, v, view.frame.intrinsics.width, view.frame.intrinsics.height)


def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Signed angle from a to b on the map, degrees, left positive, in (-180, 180]."""
    cross = float(a[0] * b[1] - a[1] * b[0])
    return float(np.degrees(np.arctan2(cross, float(a @ b))))
