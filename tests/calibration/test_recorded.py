"""Pictures, calibration, poses and depth from a recording, written and read without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rendered_boards import BOARD, PINHOLE, board_poses, mount_poses, rendered

from si_embodied.calibration.detection import find_board
from si_embodied.calibration.hand_eye import HandEyeSettings, check_hand_eye
from si_embodied.calibration.pictures import SourceSettings
from si_embodied.calibration.sources import open_source
from si_embodied.errors import ConfigError, DataError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.recording.bags import BagWriter, Topic

pytest.importorskip("rosbags")
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
MOUNT = Pose.from_rpy(-1.7, 0.05, -1.5, (0.1, 0.03, 1.1))
PLACE = Pose.from_rpy(0.3, -0.2, 2.0, (1.5, 0.4, 0.9))
STOP_S = 2.0  # at each place: drive for a second, stand for a second
IMAGE, INFO, DEPTH = "/head/image_raw", "/head/camera_info", "/head/depth"
COUNT = 6


def message(kind: str, **fields: Any) -> Any:
    return TYPES.types[kind](**fields)


def header(stamp_s: float, frame: str) -> Any:
    seconds, nanoseconds = divmod(round(stamp_s * 1e9), 10**9)
    stamp = message("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def image(stamp_s: float, pixels: np.ndarray, encoding: str) -> Any:
    height, width = pixels.shape[:2]
    return message(
        "sensor_msgs/msg/Image", header=header(stamp_s, "head_optical"), height=height, width=width, encoding=encoding,
        is_bigendian=0, step=pixels[0].nbytes, data=pixels.reshape(-1).view(np.uint8),
    )  # fmt: skip


def info() -> Any:
    region = message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = PINHOLE.intrinsics
    return message(
        "sensor_msgs/msg/CameraInfo", header=header(0.0, "head_optical"), height=k.height, width=k.width,
        distortion_model="plumb_bob", d=np.zeros(5), k=k.matrix().ravel(), r=np.eye(3).ravel(),
        p=np.hstack([k.matrix(), np.zeros((3, 1))]).ravel(), binning_x=0, binning_y=0, roi=region,
    )  # fmt: skip


def transform(stamp_s: float, parent: str, child: str, pose: Pose) -> Any:
    (x, y, z), (qx, qy, qz, qw) = pose.translation, pose.quaternion()
    moved = message("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
    turned = message("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw)
    both = message("geometry_msgs/msg/Transform", translation=moved, rotation=turned)
    stamped = message(
        "geometry_msgs/msg/TransformStamped", header=header(stamp_s, parent), child_frame_id=child, transform=both
    )
    return message("tf2_msgs/msg/TFMessage", transforms=[stamped])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arm that stops at six places, with images while it moves too; the published mount is 20 mm off."""
    folder, rng = tmp_path_factory.mktemp("bags") / "monday", np.random.default_rng(0)
    boards = board_poses(PINHOLE, COUNT)
    places = mount_poses(MOUNT, PLACE, boards, held=False)
    writer = BagWriter(folder)
    kinds = {
        IMAGE: "sensor_msgs/msg/Image", DEPTH: "sensor_msgs/msg/Image", INFO: "sensor_msgs/msg/CameraInfo",
        "/tf": "tf2_msgs/msg/TFMessage", "/tf_static": "tf2_msgs/msg/TFMessage",
    }  # fmt: skip

    def write(topic: str, stamp_s: float, each: Any) -> None:
        writer.write(topic, bytes(TYPES.serialize_cdr(each, kinds[topic])), round(stamp_s * 1e9))

    for topic, kind in kinds.items():
        writer.add(Topic(topic, kind, "", latched=topic == "/tf_static"))
    published = Pose(MOUNT.rotation, MOUNT.translation + np.array([0.02, 0.0, 0.0]))
    write("/tf_static", 0.0, transform(0.0, "tool", "head_optical", published))
    write(INFO, 0.0, info())
    for i, (board, place) in enumerate(zip(boards, places, strict=True)):
        arrived_s = 10.0 + STOP_S * i
        for stamp_s in (arrived_s, arrived_s + 1.0):
            write("/tf", stamp_s, transform(stamp_s, "base", "tool", place))
        seen = rendered(PINHOLE, board, rng)
        write(IMAGE, arrived_s + 0.5, image(arrived_s + 0.5, seen, "rgb8"))
        write(DEPTH, arrived_s + 0.51, image(arrived_s + 0.51, np.full((300, 400), 1000 + i, "<u2"), "16UC1"))
        write(IMAGE, arrived_s + 1.5, image(arrived_s + 1.5, seen, "rgb8"))  # on its way to the next place
    writer.close()
    return folder


def test_the_mount_is_checked_where_the_arm_stands_still(bag: Path) -> None:
    source = open_source(SourceSettings(bag, fixed="base", mount="tool"))
    assert source.camera == PINHOLE
    views, _ = find_board(BOARD, source.pictures(still=True), least=4)
    assert [view.picture.stamp_s for view in views] == [10.5 + STOP_S * i for i in range(COUNT)]
    published = source.published(held=False)
    report = check_hand_eye(views, BOARD, PINHOLE, HandEyeSettings(), published, ("tool", source.camera_frame))
    assert report.figures["position_m"] == pytest.approx(MOUNT.translation, abs=0.003)
    assert report.findings[0].verdict == "off"
    assert "--frame-id tool --child-frame-id head_optical" in report.settings[0]


def test_depth_is_joined_by_its_stamp_and_read_with_its_scale(bag: Path) -> None:
    source = open_source(SourceSettings(bag, fixed="base", mount="tool", depth_scale=0.002))
    still = [each for each in source.pictures(depth=True) if each.depth_m is not None]
    assert [float(each.depth_m[0, 0]) for each in still] == pytest.approx([2 + 0.002 * i for i in range(COUNT)])


def test_an_unknown_topic_is_named_with_those_there_are(bag: Path) -> None:
    with pytest.raises(
        DataError, match=r"--image to name one of the recording's topics, got: '/left'.*/head/image_raw"
    ):
        open_source(SourceSettings(bag, image="/left"))


def test_a_robot_that_never_stands_still_is_told_to_stop(bag: Path) -> None:
    source = open_source(SourceSettings(bag, fixed="base", mount="wrist"))
    with pytest.raises(DataError, match=r"'wrist' stands still in 'base' at none of the 12 images.*--mount"):
        list(source.pictures(still=True))


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder or recording"):
        open_source(SourceSettings(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no pictures and no recording .*it is empty.*NAME.png.*poses.txt.*\.mcap"):
        open_source(SourceSettings(tmp_path / "empty"))
    (tmp_path / "empty" / "camera.yaml").touch()
    (tmp_path / "empty" / "1_depth.png").touch()
    with pytest.raises(DataError, match=r"it holds \.png, \.yaml"):
        open_source(SourceSettings(tmp_path / "empty"))
    (tmp_path / "1.png").touch()
    with pytest.raises(ConfigError, match="give its folder"):
        open_source(SourceSettings(tmp_path / "1.png"))


def test_poses_by_time_are_interpolated(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "10.5.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "poses.txt").write_text("# stamp x y z qx qy qz qw\n10.3 0 0 0 0 0 0 1\n10.7 1 0 0 0 0 0 1\n")
    (picture,) = open_source(SourceSettings(tmp_path)).pictures()
    assert picture.T_fixed_mount is not None
    assert picture.T_fixed_mount.translation == pytest.approx((0.5, 0, 0))
    (tmp_path / "poses.txt").write_text("10.5 0 0 0 1\n")
    with pytest.raises(ConfigError, match=r"line 1: expected KEY x y z qx qy qz qw, got: '10.5 0 0 0 1'"):
        open_source(SourceSettings(tmp_path))


def test_a_second_pose_that_contradicts_the_first_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "poses.txt").write_text("a 0 0 0 0 0 0 1\na.png 0.001 0 0 0 0 0 1\n")
    open_source(SourceSettings(tmp_path))
    (tmp_path / "poses.txt").write_text("a 0 0 0 0 0 0 1\na.png 0.2 0 0 0 0 0 1\n")
    with pytest.raises(ConfigError, match=r"line 2: a second pose of 'a.png', other than the first"):
        open_source(SourceSettings(tmp_path))


def test_a_numbered_picture_without_a_pose_gets_none(tmp_path: Path) -> None:
    for number in ("0001", "0002", "0003"):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "poses.txt").write_text("0001 0 0 0 0 0 0 1\n0003 1 0 0 0 0 0 1\n")
    poses = {each.name: each.T_fixed_mount for each in open_source(SourceSettings(tmp_path)).pictures()}
    assert [name for name, pose in poses.items() if pose is None] == ["0002.png"]


def test_the_calibration_of_another_camera_is_not_used(tmp_path: Path) -> None:
    """usb_cam's `/camera_info` beside a depth camera whose `/depth/camera_info` comes first."""
    writer, other = BagWriter(tmp_path / "bag"), info()
    other.k[0] = 999.0
    kinds = {
        "/depth/camera_info": ("sensor_msgs/msg/CameraInfo", other),
        "/camera_info": ("sensor_msgs/msg/CameraInfo", info()),
        "/image_raw": ("sensor_msgs/msg/Image", image(1.0, np.zeros((300, 400, 3), np.uint8), "rgb8")),
    }
    for topic, (kind, _) in kinds.items():
        writer.add(Topic(topic, kind, "", latched=False))
    for stamp_ns, (topic, (kind, each)) in enumerate(kinds.items(), 10**9):
        writer.write(topic, bytes(TYPES.serialize_cdr(each, kind)), stamp_ns)
    writer.close()
    assert open_source(SourceSettings(tmp_path / "bag")).camera == PINHOLE
