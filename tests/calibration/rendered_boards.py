"""Pictures of boards with known answers: a plane seen through a known lens, with blur and noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from si_embodied.calibration.board import Board
from si_embodied.calibration.camera_info import camera_yaml
from si_embodied.calibration.detection import View
from si_embodied.calibration.pictures import Picture
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.ros_nodes.sensing.camera_models import CameraModel

BOARD = Board()
PINHOLE = CameraModel(Intrinsics(400, 300, 330.0, 331.0, 201.0, 147.0), "plumb_bob", (0.0,) * 5)
LENS = CameraModel(Intrinsics(400, 300, 330.0, 331.0, 201.0, 147.0), "plumb_bob", (-0.22, 0.08, 0.001, -0.0005, 0.0))
MARGIN_M = 0.015  # of white paper around the pattern
BACKGROUND_M = 3.0
_FINE, _PX_PER_SQUARE = 3, 100


@lru_cache
def _texture(board: Board) -> np.ndarray:
    """The pattern with a white margin, _PX_PER_SQUARE pixels a square."""
    size = (board.columns * _PX_PER_SQUARE, board.rows * _PX_PER_SQUARE)
    margin = round(MARGIN_M / board.square_m * _PX_PER_SQUARE)
    return np.pad(board.opencv().generateImage(size), margin, constant_values=255)


@lru_cache
def _rays(camera: CameraModel) -> np.ndarray:
    """Rays (H, W, 3) with z = 1 through each pixel of the image as taken."""
    k = camera.intrinsics
    pixels = np.stack(np.indices((k.height, k.width))[::-1], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    flat = cv2.undistortPoints(pixels, k.matrix(), np.array(camera.distortion or (0.0,) * 5))
    return np.dstack([flat.reshape(k.height, k.width, 2), np.ones((k.height, k.width))])


def rendered(
    camera: CameraModel, T_camera_board: Pose, rng: np.random.Generator, board: Board = BOARD, noise: float = 3.0
) -> np.ndarray:
    """The picture (H, W, 3) of a board on a dark background: through a large pinhole camera, then through the lens."""
    k, size = camera.intrinsics, (2 * camera.intrinsics.width, 2 * camera.intrinsics.height)
    wide = np.array([[_FINE * k.fx, 0.0, size[0]], [0.0, _FINE * k.fy, size[1]], [0.0, 0.0, 1.0]])
    margin = round(MARGIN_M / board.square_m * _PX_PER_SQUARE)
    to_m = np.array([[1.0, 0.0, 0.5 - margin], [0.0, 1.0, 0.5 - margin], [0.0, 0.0, 1.0]])
    to_m[:2] *= board.square_m / _PX_PER_SQUARE
    pose = np.column_stack([T_camera_board.rotation[:, :2], T_camera_board.translation])
    canvas = (2 * size[0], 2 * size[1])
    fine = cv2.warpPerspective(_texture(board), wide @ pose @ to_m, canvas, borderValue=70)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.4 * _FINE)
    at = (_rays(camera) @ wide.T)[..., :2].astype(np.float32)
    grey = cv2.remap(fine, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=70) * 0.8 + 20.0
    noisy = grey + rng.normal(0, noise, grey.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def depth_of(
    camera: CameraModel,
    T_camera_board: Pose,
    rng: np.random.Generator,
    *,
    scale: float = 1.0,
    offset_m: float = 0.0,
    noise_m: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    board: Board = BOARD,
) -> np.ndarray:
    """Depth (H, W), wrong in known ways; shifted by whole pixels right and down."""
    rays, normal = _rays(camera), T_camera_board.rotation[:, 2]
    depth = (normal @ T_camera_board.translation) / (rays @ normal)
    xy = (rays * depth[..., None] - T_camera_board.translation) @ T_camera_board.rotation[:, :2]
    low, high = -MARGIN_M, np.array(board.size_m) + MARGIN_M
    inside = ((xy > low) & (xy < high)).all(axis=-1)
    metres = scale * np.where(inside, depth, BACKGROUND_M) + offset_m + rng.normal(0, noise_m, depth.shape)
    return np.roll(metres, shift[::-1], axis=(0, 1)).astype(np.float32)


def board_poses(camera: CameraModel, count: int, *, tilt_deg: float = 32.0, distances=(0.36, 0.47, 0.62)) -> list[Pose]:
    """Poses with the board at nine places in the image, tilted in four directions, at several distances."""
    poses, k = [], camera.intrinsics
    centre = np.array([*BOARD.size_m, 0.0]) / 2
    for i in range(count):
        tilt = math.radians(tilt_deg)
        about = np.array([math.cos(i * math.pi / 2), math.sin(i * math.pi / 2), 0.25 * (-1) ** (i // 4)]) * tilt
        rotation = cv2.Rodrigues(about)[0]
        u, v = k.width * (0.24 + 0.26 * (i % 3)), k.height * (0.27 + 0.23 * (i // 3 % 3))
        z = distances[(i + i // 3) % len(distances)]
        at = np.array([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z])
        poses.append(Pose(rotation, at - rotation @ centre))
    return poses


def projected_view(
    camera: CameraModel, T_camera_board: Pose, rng: np.random.Generator, noise_px: float = 0.1, **picture: Any
) -> View:
    """A view with the corners where they are projected to, and noise, without rendering."""
    k, points = camera.intrinsics, BOARD.corners_m()
    rotation = cv2.Rodrigues(T_camera_board.rotation)[0]
    distortion = np.array(camera.distortion or (0.0,) * 5)
    pixels = cv2.projectPoints(points, rotation, T_camera_board.translation, k.matrix(), distortion)[0].reshape(-1, 2)
    ids = np.flatnonzero(((pixels > 4) & (pixels < np.array([k.width, k.height]) - 5)).all(axis=1))
    blank = np.zeros((k.height, k.width, 3), np.uint8)
    picture = {"name": "view", "stamp_s": math.inf, "rgb": blank, **picture}
    return View(Picture(**picture), ids, pixels[ids] + rng.normal(0, noise_px, (len(ids), 2)))


def mount_poses(X: Pose, Y: Pose, boards: list[Pose], *, held: bool) -> list[Pose]:
    """`T_fixed_mount` in each view: T_camera_board = X⁻¹ M Y, with M or its inverse."""
    motions = [X @ T_camera_board @ Y.inverse() for T_camera_board in boards]
    return motions if held else [motion.inverse() for motion in motions]


def shaken(pose: Pose, rng: np.random.Generator, by_m: float, by_rad: float) -> Pose:
    """A pose with noise, as a robot reports its own."""
    return Pose(pose.rotation @ cv2.Rodrigues(rng.normal(0, by_rad, 3))[0], pose.translation + rng.normal(0, by_m, 3))


def pose_line(key: str, pose: Pose) -> str:
    """A line of poses.txt."""
    return " ".join([key, *(f"{each:.7f}" for each in (*pose.translation, *pose.quaternion()))])


def write_folder(folder: Path, camera: CameraModel | None, pictures: Iterator[tuple[str, np.ndarray]]) -> Path:
    """Write pictures, and the camera's calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rgb in pictures:
        cv2.imwrite(str(folder / name), rgb[..., ::-1])
    if camera is not None:
        (folder / "camera.yaml").write_text(camera_yaml(camera))
    return folder


def swing(t: np.ndarray | float) -> Any:
    """The angle in radians of a base that turns to and fro."""
    return 0.35 * np.sin(1.9 * np.asarray(t)) + 0.12 * np.sin(4.7 * np.asarray(t))


def panorama_frame(camera: CameraModel, angle_rad: float, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of a far, textured wall when the base has turned by an angle to the left."""
    k = camera.intrinsics.matrix()
    R_wall_camera = cv2.Rodrigues(np.array([0.0, -angle_rad, 0.0]))[0]
    scale = np.array([[0.5 * k[0, 0], 0, 600.0], [0, 0.5 * k[1, 1], 300.0], [0, 0, 1]])
    H = scale @ R_wall_camera @ np.linalg.inv(k)  # image to wall
    size = (camera.intrinsics.width, camera.intrinsics.height)
    grey = cv2.warpPerspective(_wall(), H, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    noisy = grey + rng.normal(0, 3.0, grey.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@lru_cache
def _wall() -> np.ndarray:
    """Texture at all scales, as real scenes have it."""
    rng, wall = np.random.default_rng(7), np.full((600, 1200), 128.0, np.float32)
    for scale in (4, 8, 16, 32, 64):
        blots = rng.normal(0, 25.0, (600 // scale + 1, 1200 // scale + 1)).astype(np.float32)
        wall += cv2.resize(blots, (1200, 600), interpolation=cv2.INTER_CUBIC)
    return wall
