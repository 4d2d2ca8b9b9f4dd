"""An apartment as MuJoCo's XML: everything is static, except for a camera on a mocap body."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from xml.etree import ElementTree  # nosec B405  # writes XML, parses none

from si_embodied.envs.scenes.apartment import WALL_HEIGHT_M, Apartment, Part, Rgb, Room

OVERHEAD_GROUP = 2  # geoms that hide the rooms from above: ceilings, lintels
CAMERA, ROBOT = "head", "robot"

AMBIENT, HEADLIGHT = 0.52, 0.28  # strength of the camera's light: from all sides, and along the optical axis
LIGHTS: tuple[tuple[tuple[float, float, float], float], ...] = (  # directional lights: direction and strength
    ((0.5, 0.25, -0.9), 0.36),
    ((-0.6, -0.35, -0.5), 0.20),
    ((0.1, -0.6, 0.5), 0.12),
)

_AXIS_QUATERNION = {"x": "0.70710678 0 0.70710678 0", "y": "0.70710678 -0.70710678 0 0", "z": "1 0 0 0"}
_REPEAT = {"planks": (1.1, 7.0), "tiles": (2.5, 2.5), "carpet": (1.5, 1.5)}  # textures per metre


@dataclass(frozen=True)
class MujocoScene:
    """The XML, and the furniture that each named geom belongs to."""

    xml: str
    owner: dict[str, str]  # geom name -> furniture name


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


def _size(part: Part) -> str:
    """MuJoCo's size of a part; for cylinders and capsules, radius and half length along the axis."""
    hx, hy, hz = part.half
    along, radius = {"x": (hx, hy), "y": (hy, hx), "z": (hz, hx)}[part.axis]
    if part.shape == "cylinder":
        return _numbers((radius, along))
    if part.shape == "capsule":
        return _numbers((radius, max(along - radius, 1e-4)))
    return _numbers((hx,) if part.shape == "sphere" else part.half)


def _geom(parent: ElementTree.Element, part: Part, name: str, group: int = 0) -> None:
    attributes = {
        "name": name,
        "type": part.shape,
        "pos": _numbers(part.centre),
        "size": _size(part),
        "rgba": _numbers((*part.rgb, 1.0)),
        "group": str(group),
    }
    if part.shape in ("cylinder", "capsule") and part.axis != "z":
        attributes["quat"] = _AXIS_QUATERNION[part.axis]
    ElementTree.SubElement(parent, "geom", attributes)


def _darker(rgb: Rgb, factor: float) -> str:
    return _numbers(tuple(c * factor for c in rgb))


def _floor(asset: ElementTree.Element, world: ElementTree.Element, room: Room, index: int) -> None:
    texture = {
        "name": f"floor_{index}",
        "type": "2d",
        "builtin": "flat",
        "rgb1": _numbers(room.floor_rgb),
        "width": "64",
        "height": "64",
        "mark": "random" if room.floor == "carpet" else "edge",
        "markrgb": _darker(room.floor_rgb, 0.86 if room.floor == "carpet" else 0.72),
    }
    if room.floor == "carpet":
        texture["random"] = "0.25"
    ElementTree.SubElement(asset, "texture", texture)
    ElementTree.SubElement(
        asset,
        "material",
        {
            "name": f"floor_{index}",
            "texture": f"floor_{index}",
            "texuniform": "true",
            "texrepeat": _numbers(_REPEAT[room.floor]),
            "specular": "0.1",
            "shininess": "0.1",
        },
    )
    width, depth = room.x1_m - room.x0_m, room.y1_m - room.y0_m
    x, y = (room.x0_m + room.x1_m) / 2, (room.y0_m + room.y1_m) / 2
    attributes = {
        "name": f"floor_{index}",
        "type": "plane",
        "pos": _numbers((x, y, 0.0)),
        "size": _numbers((width / 2, depth / 2, 1.0)),
        "material": f"floor_{index}",
    }
    ElementTree.SubElement(world, "geom", attributes)
    ceiling = Part("box", (x, y, WALL_HEIGHT_M + 0.01), (width / 2, depth / 2, 0.01), (0.95, 0.95, 0.94))
    _geom(world, ceiling, f"ceiling_{index}", OVERHEAD_GROUP)


def apartment_mjcf(
    apartment: Apartment,
    *,
    camera_height_m: float,
    fov_y_rad: float,
    movable: Mapping[str, Sequence[Part]] = MappingProxyType({}),
) -> MujocoScene:
    """Export to MuJoCo. The camera looks along x of the body `head` (pan and tilt) on the mocap body `robot`.

    Args:
        apartment: the static part of the scene.
        camera_height_m: of the head's origin above the floor.
        fov_y_rad: the camera's vertical field of view.
        movable: objects on mocap bodies of the same names, with their parts in the body's frame.
    """
    x0, y0, x1, y1 = apartment.bounds
    root = ElementTree.Element("mujoco", {"model": "apartment"})
    ElementTree.SubElement(root, "compiler", {"angle": "radian"})
    ElementTree.SubElement(root, "statistic", {"extent": "10", "center": _numbers(((x0 + x1) / 2, (y0 + y1) / 2, 1.0))})
    visual = ElementTree.SubElement(root, "visual")
    ElementTree.SubElement(visual, "map", {"znear": "0.004", "zfar": "4"})
    headlight = {"ambient": _numbers((AMBIENT,) * 3), "diffuse": _numbers((HEADLIGHT,) * 3), "specular": "0 0 0"}
    ElementTree.SubElement(visual, "headlight", headlight)
    asset = ElementTree.SubElement(root, "asset")
    sky = {"type": "skybox", "builtin": "gradient", "rgb1": ".75 .85 .95", "rgb2": ".9 .93 .95"}
    ElementTree.SubElement(asset, "texture", {**sky, "width": "32", "height": "192"})
    default = ElementTree.SubElement(root, "default")
    ElementTree.SubElement(default, "geom", {"contype": "0", "conaffinity": "0"})
    world = ElementTree.SubElement(root, "worldbody")
    for direction, strength in LIGHTS:
        light = {"directional": "true", "castshadow": "false", "dir": _numbers(direction), "specular": "0 0 0"}
        ElementTree.SubElement(world, "light", {**light, "diffuse": _numbers((strength,) * 3), "pos": "0 0 5"})
    for index, room in enumerate(apartment.rooms):
        _floor(asset, world, room, index)
    for index, part in enumerate(apartment.walls):
        _geom(world, part, f"wall_{index}")
    for index, part in enumerate(apartment.lintels):
        _geom(world, part, f"lintel_{index}", OVERHEAD_GROUP)
    owner: dict[str, str] = {}
    for piece in apartment.furniture:
        for index, part in enumerate(piece.world_parts):
            name = f"{piece.name}/{index}"
            owner[name] = piece.name
            _geom(world, part, name)
    for name, parts in movable.items():
        body = ElementTree.SubElement(world, "body", {"name": name, "mocap": "true"})
        for index, part in enumerate(parts):
            owner[f"{name}/{index}"] = name
            _geom(body, part, f"{name}/{index}")
    robot = ElementTree.SubElement(world, "body", {"name": ROBOT, "mocap": "true"})
    head = ElementTree.SubElement(robot, "body", {"name": CAMERA, "pos": _numbers((0.0, 0.0, camera_height_m))})
    # MuJoCo's camera looks along its -z with y up; when it looks along x, its own x (right) is -y.
    camera = {"name": CAMERA, "fovy": f"{math.degrees(fov_y_rad):.9g}", "xyaxes": "0 -1 0 0 0 1"}
    ElementTree.SubElement(head, "camera", camera)
    return MujocoScene(ElementTree.tostring(root, encoding="unicode"), owner)
