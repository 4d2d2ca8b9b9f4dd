"""A folder of posed RGB-D images, as a robot or a hand-held camera records them.

    FOLDER/rgb/NAME.png       8-bit colour (PNG, JPEG); all images have one size
    FOLDER/depth/NAME.png     depth of the same pixels: 16-bit PNG in millimetres, or .npy with metres; 0 = no return
    FOLDER/intrinsics.json    {"width", "height", "fx", "fy", "cx", "cy"} in pixels; "depth_scale" if not millimetres
    FOLDER/poses.txt          a line for each image: KEY x y z qx qy qz qw

A pose is that of the camera's optical frame (x right, y down, z forward) in a map with z up, in metres. KEY is the
image's NAME, or a time in seconds; then lines are in the order of the names, as in a trajectory of the TUM RGB-D
benchmark. `#` begins a comment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from si_embodied.errors import ConfigError, DataError, extra
from si_embodied.geometry import Intrinsics, Pose, is_return
from si_embodied.images.files import M_PER_MM, read_depth, read_rgb
from si_embodied.runs import replacing, write_text
from si_embodied.types import CameraFrame

RGB, DEPTH, INTRINSICS, POSES = "rgb", "depth", "intrinsics.json", "poses.txt"
_RGB_SUFFIXES, _DEPTH_SUFFIXES = (".png", ".jpg", ".jpeg"), (".png", ".npy", ".tif", ".tiff")
_NUMBERS = "KEY x y z qx qy qz qw"
_DEPTH_M = 0.05, 30.0  # the median depth of an image of a room lies between these
_DEEPEST_M = 65.535  # that 16 bits hold in millimetres


@dataclass(frozen=True, slots=True)
class PosedImage:
    """One image on disk, and where it was taken."""

    rgb: Path
    depth: Path
    stamp_s: float
    T_map_camera: Pose


@dataclass(frozen=True, slots=True)
class PosedImages:
    """The images of a folder, in order, which all have one size."""

    folder: Path
    intrinsics: Intrinsics
    depth_scale_m: float  # metres per unit of integer depth
    images: tuple[PosedImage, ...]

    def frame(self, index: int, camera: str) -> CameraFrame:
        """Read an image as a frame of the camera of that name.

        Raises:
            ObservationError: a file is missing or not an image.
            DataError: its size is not that of the intrinsics, or its depth is in another unit.
        """
        image, size = self.images[index], (self.intrinsics.height, self.intrinsics.width)
        rgb, depth_m = read_rgb(image.rgb), read_depth(image.depth, integer_m=self.depth_scale_m)
        for path, shape in ((image.rgb, rgb.shape[:2]), (image.depth, depth_m.shape)):
            if shape != size:
                raise DataError(
                    f"{str(path)!r} is {shape[1]} x {shape[0]}, but {INTRINSICS} is for {size[1]} x {size[0]}; "
                    "register depth to colour, and give the intrinsics of these images"
                )
        known = depth_m[np.isfinite(depth_m) & (depth_m > 0)]
        if known.size and not _DEPTH_M[0] <= float(np.median(known)) <= _DEPTH_M[1]:
            raise DataError(
                f"the median depth of {str(image.depth)!r} is {float(np.median(known)):.4g} m, which no room has; "
                f'integer depth counts in {self.depth_scale_m:g} m, set "depth_scale" in {self.folder / INTRINSICS}'
            )
        depth_m = np.where(is_return(depth_m), depth_m, np.float32(0))
        return CameraFrame(camera, image.stamp_s, rgb, depth_m, self.intrinsics, image.T_map_camera)


def read_posed_images(folder: Path) -> PosedImages:
    """Find the images of a folder; pixels are read later.

    Raises:
        DataError: something is missing or malformed, or counts differ. The message names the file.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {str(folder)!r}")
    intrinsics, scale_m = _read_intrinsics(folder / INTRINSICS)
    rgb, depth = _files(folder / RGB, _RGB_SUFFIXES), _files(folder / DEPTH, _DEPTH_SUFFIXES)
    lonely = sorted(rgb.keys() ^ depth.keys())
    if lonely:
        where = folder / (RGB if lonely[0] in rgb else DEPTH)
        raise DataError(
            f"{len(lonely)} images of {str(folder)!r} have no partner of the same name in {RGB}/ and {DEPTH}/; the "
            f"first is {lonely[0]!r} in {str(where)!r}"
        )
    names = sorted(rgb)
    poses = _in_order(folder / POSES, names)
    images = (PosedImage(rgb[name], depth[name], *pose) for name, pose in zip(names, poses, strict=True))
    return PosedImages(folder, intrinsics, scale_m, tuple(images))


def write_posed_images(folder: Path, frames: Iterable[CameraFrame]) -> int:
    """Write frames of one size as a folder, the poses last: a folder that has them is complete.

    Args:
        folder: new, or with nothing in it.
        frames: with depth, all with the same intrinsics.

    Returns:
        How many there were.

    Raises:
        DataError: the folder has files already, or a frame has no depth or other intrinsics.
        RecordError: a file cannot be written.
    """
    with extra("sim"):
        from PIL import Image
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{str(folder)!r} is not empty; give another folder")
    lines: list[str] = []
    intrinsics: Intrinsics | None = None
    for frame in frames:
        intrinsics = intrinsics or frame.intrinsics
        if frame.depth_m is None or frame.intrinsics != intrinsics:
            raise DataError(f"the image of {frame.stamp_s:.3f} s has no depth, or other intrinsics than the first one")
        name = f"{len(lines):06d}.png"
        millimetres = np.rint(np.clip(np.nan_to_num(frame.depth_m), 0, _DEEPEST_M) / M_PER_MM).astype(np.uint16)
        for kind, pixels in ((RGB, frame.rgb), (DEPTH, millimetres)):
            with replacing(folder / kind / name) as part:
                Image.fromarray(pixels).save(part, format="PNG")
        lines.append(_pose_line(frame))
    if intrinsics is None:
        raise DataError(f"there are no images to write to {str(folder)!r}")
    fields = {name: getattr(intrinsics, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    write_text(folder / INTRINSICS, json.dumps(fields, indent=2) + "\n")
    write_text(folder / POSES, "\n".join(["# stamp x y z qx qy qz qw, of the optical frame in the map", *lines]) + "\n")
    return len(lines)


def _pose_line(frame: CameraFrame) -> str:
    pose = (*frame.T_map_camera.translation, *frame.T_map_camera.quaternion())
    return " ".join([f"{frame.stamp_s:.6f}", *(f"{value:.9g}" for value in pose)])


def _files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The images of a folder by their names without the suffix."""
    if not folder.is_dir():
        raise DataError(f"no such folder: {str(folder)!r}; posed images are laid out as docs/own_world.md says")
    found = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in suffixes}
    if not found:
        raise DataError(f"no images in {str(folder)!r}; expected {', '.join(suffixes)}")
    return found


def _read_intrinsics(path: Path) -> tuple[Intrinsics, float]:
    """The camera, and the unit of integer depth in metres."""
    if not path.is_file():
        raise DataError(
            f"{str(path.parent)!r} has no {path.name}, and so is no folder of posed images; docs/own_world.md says how "
            "one is laid out"
        )
    try:
        values: Any = json.loads(_text(path))
        scale_m = float(values.get("depth_scale", M_PER_MM))
        size = int(values["width"]), int(values["height"])
        camera = Intrinsics(*size, *(float(values[name]) for name in ("fx", "fy", "cx", "cy")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # also the package's own ConfigError
        raise DataError(
            f"{str(path)!r} is not a camera ({error}); expected JSON with width, height, fx, fy, cx and cy, in pixels"
        ) from error
    if not 0 < scale_m < 1:
        raise DataError(
            f'expected "depth_scale" in {str(path)!r} between 0 and 1, got: {scale_m}; 0.001 is millimetres'
        )
    return camera, scale_m


def _in_order(path: Path, names: list[str]) -> list[tuple[float, Pose]]:
    """Stamp in seconds and pose of every image; where lines have names for keys, the stamp is the image's number."""
    poses = _read_poses(path)
    by_name = dict(poses)
    if all(name in by_name for name in names):
        return [(float(number), by_name[name]) for number, name in enumerate(names)]
    if len(poses) != len(names):
        raise DataError(
            f"{str(path)!r} has {len(poses)} poses, but there are {len(names)} images; give one line for each image, "
            "with its name or in the order of the names"
        )
    try:
        return [(float(key), pose) for key, pose in poses]
    except ValueError as error:
        missing = next(name for name in names if name not in by_name)
        raise DataError(f"{str(path)!r} has no pose of the image {missing!r}, and its keys are not times") from error


def _read_poses(path: Path) -> list[tuple[str, Pose]]:
    """Key and pose of every line."""
    poses: list[tuple[str, Pose]] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, *rest = line.replace(",", " ").split()
        try:
            values = [float(word) for word in rest]
            if len(values) != 7 or not all(map(math.isfinite, values)):
                raise ValueError(f"got {len(values)} numbers after the key")
            poses.append((key, Pose.from_quaternion(values[3:], values[:3])))
        except (ValueError, ConfigError) as error:
            raise DataError(f"{path}:{number} is not a pose ({error}); expected: {_NUMBERS}") from error
    return poses


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}; the layout is described in docs/own_world.md") from error
