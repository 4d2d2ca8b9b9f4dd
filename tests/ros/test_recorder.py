"""The recorder in its own process, and its recordings read by other libraries."""

from __future__ import annotations

import io
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("mcap", reason="recording needs the extra bags")
pytest.importorskip("rosbags", reason="reading recordings needs the extra bags")

from PIL import Image as Pillow
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, CompressedImage
from si_embodied_msgs.msg import Plan

from si_embodied.config import settings_of
from si_embodied.errors import RecordError
from si_embodied.ros_nodes.recording.bags import BagWriter, Topic, definition_of
from si_embodied.ros_nodes.recording.settings import RecorderSettings

Ros = Any  # of conftest.py
RECORDER, ROBOT = ["-m", "si_embodied.ros_nodes.recorder_node"], [str(Path(__file__).parent / "wall_robot.py")]
SOON_S = 60.0


@pytest.fixture(scope="module")
def recording(shared_ros: Ros, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of a robot in front of a wall."""
    folder = tmp_path_factory.mktemp("recordings") / "wall"
    shared_ros.start(ROBOT, {})
    recorder = shared_ros.start(RECORDER, {"output": str(folder), "image_format": "png"})
    shared_ros.wait((folder / "wall_0.mcap").exists, SOON_S, "the recording's file")
    shared_ros.wait(lambda: shared_ros.node.count_subscribers("head/depth"), SOON_S, "the recorder's subscriptions")
    shared_ros.wait(lambda: (folder / "wall_0.mcap").stat().st_size > 1000, SOON_S, "something recorded")
    output = shared_ros.stop(recorder, signal.SIGINT)
    assert recorder.returncode == 0, output
    assert "messages to" in output
    return folder


def test_ros2_bag_opens_it(recording: Path) -> None:
    with Reader(recording) as reader:
        counts = {each.topic: each.msgcount for each in reader.connections}
        assert counts["/tf_static"] == 1, "latched, and published before the recording"
        assert counts["/head/depth"] > 2
        assert reader.message_count == sum(counts.values()) == sum(1 for _ in reader.messages())


def test_depth_is_kept_unchanged_and_images_are_compressed(recording: Path) -> None:
    with AnyReader([recording]) as reader:
        messages = {each.topic: (each, raw) for each, _, raw in reader.messages()}
        read = {topic: reader.deserialize(raw, each.msgtype) for topic, (each, raw) in messages.items()}
    depth, image = read["/head/depth"], read["/head/image_raw/compressed"]
    metres = np.frombuffer(depth.data, dtype="<f4").reshape(depth.height, depth.width)
    assert metres[depth.height // 2, depth.width // 2] == pytest.approx(3.0, abs=0.05), "the wall's distance"
    assert Pillow.open(io.BytesIO(bytes(image.data))).size == (depth.width, depth.height)
    assert read["/head/camera_info"].k[0] > 0


def test_compressed_depth_is_recorded_where_the_planner_listens_to_it(shared_ros: Ros, tmp_path: Path) -> None:
    topic, folder = "head/depth/compressedDepth", tmp_path / "compressed"
    depths = shared_ros.node.create_publisher(CompressedImage, topic, 1)
    recorder = shared_ros.start(RECORDER, {"output": str(folder), "depth_compressed": True})
    shared_ros.wait(depths.get_subscription_count, SOON_S, "the recorder's subscription")
    until_s = time.monotonic() + 1.0

    def sent_for_a_second() -> bool:
        depths.publish(CompressedImage(format="16UC1; compressedDepth png", data=b"as it came"))
        return time.monotonic() > until_s

    shared_ros.wait(sent_for_a_second, SOON_S, "depth images")
    output = shared_ros.stop(recorder, signal.SIGINT)
    assert recorder.returncode == 0, output
    with AnyReader([folder]) as reader:
        depth = [reader.deserialize(raw, each.msgtype) for each, _, raw in reader.messages() if "depth" in each.topic]
    assert {bytes(each.data) for each in depth} == {b"as it came"}


def test_an_existing_folder_is_not_written_to(shared_ros: Ros, recording: Path) -> None:
    recorder = shared_ros.start(RECORDER, {"output": str(recording)})
    shared_ros.processes.remove(recorder)  # it should fail
    output = recorder.communicate(timeout=SOON_S)[0]
    assert recorder.returncode == 2
    assert "File exists; give another folder" in output


def test_the_parameter_file_has_every_parameter_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "config" / "recorder.yaml").read_text(encoding="utf-8")
    written = yaml.safe_load(text)["/**"]["ros__parameters"]
    del written["use_sim_time"]  # every node's
    settings = list(settings_of(RecorderSettings))
    assert written == {
        each.name: list(each.default) if isinstance(each.default, tuple) else each.default for each in settings
    }
    assert not [each.name for each in settings if each.description and f"# {each.description}" not in text]


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_definition_contains_every_nested_type() -> None:
    text = definition_of(Plan)
    first, *others = text.split("=" * 80 + "\n")
    assert "float64[] latency_s\n" in first
    assert {each.splitlines()[0] for each in others} >= {
        "MSG: std_msgs/Header", "MSG: si_embodied_msgs/Subgoal", "MSG: builtin_interfaces/Time",
        "MSG: geometry_msgs/Pose",
    }  # fmt: skip
    assert "float64[9] k\n" in definition_of(CameraInfo)


def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    bag = BagWriter(tmp_path / "full", compression="none")
    bag.add(Topic("/noise", "std_msgs/msg/UInt8MultiArray", "uint8[] data\n"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(RecordError, match="cannot record to .*full.*free some space"):
            write_noise(bag)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)


def write_noise(bag: BagWriter) -> None:
    for stamp_ns in range(40):
        bag.write("/noise", bytes(1 << 18), stamp_ns)


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot record to"):
        BagWriter(tmp_path / "file" / "recording")
