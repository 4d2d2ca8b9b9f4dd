"""Fault: a recording or a results file that was cut short, damaged, or written by others. What is there is read."""

from __future__ import annotations

import json
import math
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mcap", reason="recording needs the extra bags")
pytest.importorskip("rosbags", reason="reading recordings needs the extra bags")
pytest.importorskip("cv2", reason="images need the extra bags")
from rosbags.typesys import Stores, get_typestore

from si_embodied import Task
from si_embodied.config import load_planner_config
from si_embodied.errors import ConfigError, DataError, RecordError
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.bags import FLUSH_S, BagWriter, Topic
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord
from si_embodied.ros_nodes.recording.mcap_records import MAGIC, Damage, read_mcap
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.runs import JsonLines, claim
from si_embodied.types import Code, Hold, PlanRecord

FEW = settings(max_examples=300, derandomize=True, deadline=None)
STORE = get_typestore(Stores.ROS2_HUMBLE)
STRING, TF, IMAGE = "std_msgs/msg/String", "tf2_msgs/msg/TFMessage", "sensor_msgs/msg/Image"
START_NS, STEP_NS, SIDE = 1_700_000_000_000_000_000, 100_000_000, 8
SECONDS = 10
Message = tuple[str, str, int, bytes]


# --- messages -------------------------------------------------------------------------------------------------------


def cdr(kind: str, **fields: Any) -> bytes:
    return bytes(STORE.serialize_cdr(new(kind, **fields), kind))


def new(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def header(stamp_ns: int, frame: str) -> Any:
    stamp = new("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def transform(parent: str, child: str, stamp_ns: int, x: float = 0.0, w: float = 1.0) -> Any:
    pose = new(
        "geometry_msgs/msg/Transform",
        translation=new("geometry_msgs/msg/Vector3", x=x, y=0.0, z=0.0),
        rotation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=w),
    )
    return new(
        "geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child, transform=pose
    )


def tf(*transforms: Any) -> bytes:
    return cdr(TF, transforms=list(transforms))


def image(stamp_ns: int, level: int) -> bytes:
    pixels = np.full(SIDE * SIDE * 3, level, np.uint8)
    return cdr(
        IMAGE, header=header(stamp_ns, "optical"), height=SIDE, width=SIDE, encoding="rgb8", is_bigendian=0,
        step=SIDE * 3, data=pixels,
    )  # fmt: skip


def depth(stamp_ns: int) -> bytes:
    metres = np.full(SIDE * SIDE, 2.0, "<f4").view(np.uint8)
    return cdr(
        IMAGE, header=header(stamp_ns, "optical"), height=SIDE, width=SIDE, encoding="32FC1", is_bigendian=0,
        step=SIDE * 4, data=metres,
    )  # fmt: skip


def info(stamp_ns: int) -> bytes:
    k = np.array([5.0, 0, 3.5, 0, 5.0, 3.5, 0, 0, 1])
    p = np.array([5.0, 0, 3.5, 0, 0, 5.0, 3.5, 0, 0, 0, 1, 0])
    roi = new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return cdr(
        "sensor_msgs/msg/CameraInfo", header=header(stamp_ns, "optical"), height=SIDE, width=SIDE,
        distortion_model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3).ravel(), p=p, binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def decision(stamp_ns: int, namespace: str = "", instruction: str = "go") -> str:
    stamp_s = stamp_ns // 10**9 + 1e-9 * (stamp_ns % 10**9)
    plan = PlanRecord(stamp_s, "nav/v1", "m", "sdpa", "float32", (), 0, 0, {"total": 0.1}, Code.DEPTH_INVALID, "")
    camera = f"{namespace}/head"
    return DecisionRecord(
        task=Task("go", "navigation"),
        decision=Hold(plan),
        decided_s=stamp_s,
        settings=NodeSettings(),
        topics={"head": CameraTopics(f"{camera}/image_raw", f"{camera}/depth", f"{camera}/camera_info")},
        views={"head": stamp_s},
    ).to_json().replace('"instruction": "go"', f'"instruction": "{instruction}"')  # fmt: skip


def messages(namespace: str = "", *, level: int = 0, x: float = 0.0, seconds: int = SECONDS) -> list[Message]:
    """A robot that stands at x: ten images a second, a transform with each, and a decision a second."""
    found: list[Message] = [
        (f"{namespace}/tf_static", TF, START_NS, tf(transform("base_link", "optical", START_NS))),
        (f"{namespace}/head/camera_info", "sensor_msgs/msg/CameraInfo", START_NS, info(START_NS)),
    ]
    for step in range(10 * seconds):
        now = START_NS + step * STEP_NS
        found += [
            (f"{namespace}/tf", TF, now, tf(transform("map", "base_link", now, x))),
            (f"{namespace}/head/image_raw", IMAGE, now, image(now, level + step)),
            (f"{namespace}/head/depth", IMAGE, now, depth(now)),
        ]
        if step % 10 == 0:
            text = decision(now, namespace)
            found.append((f"{namespace}/planner/record", STRING, now + 1, cdr(STRING, data=text)))
    return sorted(found, key=lambda each: each[2])


ALL = messages()
END_NS = ALL[-1][2]


def write(folder: Path, recorded: list[Message], *, compression: str = "zstd", every: int = 30) -> Path:
    """Record as recorder_node does, with a chunk for each `every` messages."""
    writer = BagWriter(folder, compression=compression)
    try:
        for number, (topic, kind, stamp_ns, data) in enumerate(recorded):
            if topic not in writer.topics:
                writer.add(Topic(topic, kind, "string data"))
            writer.write(topic, data, stamp_ns)
            if number % every == every - 1:
                writer._flushed_s = -math.inf
                writer.flush()
    except RecordError:
        with suppress(RecordError):
            writer.close()
        raise
    writer.close()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "bag", ALL)


def stamps(recording: Recording) -> list[float]:
    return [round(record.decided_s - START_NS * 1e-9, 3) for record in recording.records]


# --- cut files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_a_whole_recording_has_lost_nothing(compression: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", ALL, compression=compression)
    for path in (folder, folder / "bag_0.mcap"):
        recording = Recording(path)
        decisions = list(recording.decisions())
        assert stamps(recording) == list(range(SECONDS))
        assert [each.missing for each in decisions] == [""] * SECONDS
        levels = [int(each.observation.frames[0].rgb[0, 0, 0]) for each in decisions if each.observation]
        assert levels == list(range(0, 10 * SECONDS, 10))
        assert (recording.lost_s, recording.damage) == (0.0, [])


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_cut_file_is_read_as_far_as_it_goes_and_the_loss_is_reported_in_seconds(
    share: float, metadata: bool, whole: Path, tmp_path: Path
) -> None:
    """With metadata of the whole recording, the loss is known exactly; without, from the chunk that was cut."""
    data = (whole / "bag_0.mcap").read_bytes()
    chunks = (len(ALL) + 29) // 30
    folder = tmp_path / "bag"
    folder.mkdir()
    data_end = data.rindex(struct.pack("<BQI", 0x0F, 4, 0))
    (folder / "bag_0.mcap").write_bytes(data[: int(share * data_end)])
    if metadata:
        (folder / "metadata.yaml").write_bytes((whole / "metadata.yaml").read_bytes())
    recording = Recording(folder)
    read: list[int] = []
    damage = Damage()
    read = [stamp for _, _, stamp, _ in read_mcap(folder / "bag_0.mcap", lambda *_: True, damage)]
    assert len(read) % 30 == 0
    assert abs(len(read) / 30 - share * chunks) <= 2
    assert [message[2] for message in ALL[: len(read)]] == read
    assert stamps(recording) == [each for each in range(SECONDS) if START_NS + each * 10**9 + 1 <= read[-1]]
    if metadata:
        assert recording.lost_s == pytest.approx((END_NS - read[-1]) * 1e-9, abs=1e-6)
    else:
        assert recording.lost_s <= (END_NS - read[-1]) * 1e-9 + 1e-6
    assert "cut off" in recording.damage[0]


def test_a_cut_chunk_loses_only_its_own_messages(whole: Path, tmp_path: Path) -> None:
    """Thirty messages of 31 a second."""
    data = (whole / "bag_0.mcap").read_bytes()
    starts = [at for at in range(len(data)) if data[at] == 0x06 and data[at + 9 : at + 17] in chunk_starts()]
    (tmp_path / "cut.mcap").write_bytes(data[: starts[5] + 60])
    recording = Recording(tmp_path / "cut.mcap")
    assert recording.lost_s == pytest.approx((ALL[179][2] - ALL[149][2]) * 1e-9, abs=1e-6)


def chunk_starts() -> set[bytes]:
    return {struct.pack("<Q", ALL[number][2]) for number in range(0, len(ALL), 30)}


def test_a_damaged_chunk_loses_only_its_own_messages(whole: Path, tmp_path: Path) -> None:
    data = bytearray((whole / "bag_0.mcap").read_bytes())
    starts = [at for at in range(len(data)) if data[at] == 0x06 and bytes(data[at + 9 : at + 17]) in chunk_starts()]
    data[starts[4] + 80] ^= 0xFF
    (tmp_path / "bad.mcap").write_bytes(data)
    recording = Recording(tmp_path / "bad.mcap")
    lost = {round((stamp - START_NS) * 1e-9) for topic, _, stamp, _ in ALL[120:150] if topic == "/planner/record"}
    assert lost
    assert stamps(recording) == [each for each in range(SECONDS) if each not in lost]
    assert recording.lost_s == pytest.approx((ALL[149][2] - ALL[119][2]) * 1e-9, abs=0.11)


def test_kill_9_loses_about_a_second(tmp_path: Path) -> None:
    """A process that records 20 messages a second, much less than a chunk, and is killed."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from si_embodied.ros_nodes.recording.bags import BagWriter, Topic\n"
        f"writer = BagWriter(Path({str(tmp_path / 'bag')!r}))\n"
        f"writer.add(Topic('/a', {STRING!r}, 'string data'))\n"
        "for number in range(10_000):\n"
        "    writer.write('/a', number.to_bytes(4, 'little'), time.time_ns())\n"
        "    print(number, flush=True)\n"
        "    time.sleep(0.05)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(3 * FLUSH_S)
        process.kill()
        killed_ns = time.time_ns()
        written = len(process.stdout.read().splitlines()) + 1
    damage = Damage()
    read = list(read_mcap(tmp_path / "bag" / "bag_0.mcap", lambda *_: True, damage))
    assert written >= len(read) > 20
    assert (killed_ns - read[-1][2]) * 1e-9 < FLUSH_S + 0.5
    assert damage.reasons == ["bag_0.mcap is cut off"]


def test_a_full_disk_is_an_error_and_what_was_written_is_read(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: writing fails half way through a chunk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        with pytest.raises(RecordError, match="free some space"):
            write(tmp_path / "bag", ALL, compression="none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    recording = Recording(tmp_path / "bag")
    assert stamps(recording)[0] == 0
    assert "cut off" in recording.damage[0]


ENDS_LATE = "rosbag2_bagfile_information: {starting_time: {nanoseconds_since_epoch: 0x%s}, duration: {nanoseconds: 1}}"


@pytest.mark.parametrize(
    "damaged",
    ["", "a: [", "\0\0\0", "[]", "rosbag2_bagfile_information: 5", "[" * 5000, "a: !!timestamp x",
     ENDS_LATE % ("f" * 400)],
)  # fmt: skip
def test_a_recording_with_damaged_metadata_is_read(damaged: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "bag_0.mcap").write_bytes((whole / "bag_0.mcap").read_bytes())
    (tmp_path / "metadata.yaml").write_text(damaged)
    assert len(Recording(tmp_path).records) == SECONDS


def test_a_missing_part_of_a_split_recording_is_named_and_the_parts_are_in_order(tmp_path: Path) -> None:
    for number, part in ((9, ALL[:100]), (10, ALL[100:])):
        write(tmp_path / f"part_{number}", part)
        (tmp_path / f"part_{number}" / f"part_{number}_0.mcap").rename(tmp_path / f"bag_{number}.mcap")
    names = [f"bag_{number}.mcap" for number in (8, 9, 10)]
    (tmp_path / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": {"version": 5, "relative_file_paths": names}})
    )
    recording = Recording(tmp_path)
    assert stamps(recording) == list(range(SECONDS))
    assert recording.damage == ["bag_8.mcap is missing"]


# --- SQLite ---------------------------------------------------------------------------------------------------------


def sqlite(file: Path, recorded: list[Message]) -> Path:
    """A file as Humble's `ros2 bag record` writes it."""
    with sqlite3.connect(file) as base:
        base.execute(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)"
        )
        base.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            "timestamp INTEGER NOT NULL, data BLOB NOT NULL)"
        )
        base.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        numbers = {topic: number for number, topic in enumerate(dict.fromkeys(each[0] for each in recorded), 1)}
        kinds = {topic: kind for topic, kind, _, _ in recorded}
        base.executemany(
            "INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')",
            [(number, topic, kinds[topic]) for topic, number in numbers.items()],
        )
        base.executemany(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            [(numbers[topic], stamp, data) for topic, _, stamp, data in recorded],
        )
    base.close()
    return file


def metadata(folder: Path, names: list[str], version: int = 5, **more: Any) -> None:
    content = {
        "version": version,
        "storage_identifier": "sqlite3",
        "relative_file_paths": names,
        "starting_time": {"nanoseconds_since_epoch": START_NS},
        "duration": {"nanoseconds": END_NS - START_NS},
        **more,
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}))


@pytest.mark.parametrize("version", [None, 4, 5])
def test_a_sqlite_recording_of_an_older_release_is_read(version: int | None, tmp_path: Path) -> None:
    """Without message definitions, which came with Iron; version 4, of Galactic, has the folder in its file names."""
    sqlite(tmp_path / "bag_0.db3", ALL)
    if version is not None:
        metadata(tmp_path, [f"{tmp_path.name}/bag_0.db3" if version == 4 else "bag_0.db3"], version)
    for path in (tmp_path, tmp_path / "bag_0.db3"):
        recording = Recording(path)
        assert stamps(recording) == list(range(SECONDS))
        assert all(each.observation is not None for each in recording.decisions())
        assert recording.damage == []


def test_a_cut_sqlite_recording_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = sqlite(tmp_path / "bag_0.db3", ALL)
    metadata(tmp_path, ["bag_0.db3"])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 // 4096 * 4096])
    recording = Recording(tmp_path)
    assert 0 < len(recording.records) < SECONDS
    assert 0 < recording.lost_s < SECONDS
    assert "damaged" in recording.damage[0]


@pytest.mark.parametrize("mode", ["MESSAGE", "FILE"])
def test_a_compressed_sqlite_recording_is_read(mode: str, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    recorded = [(*each[:3], zstandard.compress(each[3])) for each in ALL] if mode == "MESSAGE" else ALL
    file = sqlite(tmp_path / "bag_0.db3", recorded)
    if mode == "FILE":
        (tmp_path / "bag_0.db3.zstd").write_bytes(zstandard.compress(file.read_bytes()))
        file.unlink()
    name = "bag_0.db3.zstd" if mode == "FILE" else "bag_0.db3"
    metadata(tmp_path, [name], compression_mode=mode, compression_format="zstd")
    assert stamps(Recording(tmp_path)) == list(range(SECONDS))


# --- bad and foreign messages ---------------------------------------------------------------------------------------


def poses(recording: Recording) -> list[float]:
    """The base's x at each decision."""
    found = [each.observation for each in recording.decisions()]
    return [float(each.T_map_base.translation[0]) for each in found if each is not None]


def test_a_namespaced_robot_is_told_from_others(tmp_path: Path) -> None:
    """Its static transforms are static; topics that end like its own are not its own."""
    other = [(f"/other{topic}", kind, stamp, data) for topic, kind, stamp, data in messages(x=9.0, level=100)]
    foreign: list[Message] = [
        ("/logger/record", STRING, START_NS, cdr(STRING, data="[INFO] not a decision")),
        ("/big/r1/head/image_raw", IMAGE, START_NS, image(START_NS, 255)),
        ("/vision/tf", STRING, START_NS, cdr(STRING, data="TensorFlow")),
        ("/tf_static", "other_msgs/msg/Tree", START_NS, b"\0\1\0\0"),
    ]
    folder = write(tmp_path / "bag", sorted([*foreign, *messages("/r1", x=3.0), *other], key=lambda each: each[2]))
    recording = Recording(folder, planner="/r1/planner/record")
    assert poses(recording) == [3.0] * SECONDS
    assert recording.damage == []
    assert poses(Recording(folder, planner="/other/planner/record")) == []  # its records name another's cameras
    with pytest.raises(DataError, match="/r1/planner/record, /other/planner/record"):
        Recording(folder, planner="/r3/planner/record")


def test_a_bad_transform_loses_only_itself(tmp_path: Path) -> None:
    at = START_NS + 4 * 10**9 + 50_000_000
    bad = [
        transform("map", "base_link", at, w=0.0), transform("map", "base_link", at + 1, x=float("nan")),
        transform("map", "base_link", at + 2, w=float("inf")), transform("map", "base_link", 0, x=50.0),
        transform("base_link", "base_link", at), transform("wheel", "base_link", at), transform("", "", at),
    ]  # fmt: skip
    recorded = [*ALL, ("/tf", TF, at, tf(*bad[:3], transform("map", "lidar", at), *bad[3:]))]
    recording = Recording(write(tmp_path / "bag", sorted(recorded, key=lambda each: each[2])))
    assert poses(recording) == [0.0] * SECONDS
    assert recording._transforms.lookup("map", "lidar", at * 1e-9).translation[0] == 0.0
    assert [each.partition(" was skipped")[0] for each in recording.damage] == [
        "a transform of 'base_link' in 'map'", "a transform of 'base_link' in 'map'",
        "a transform of 'base_link' in 'base_link'", "a transform of '' in ''",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        cdr(STRING, data="{"), cdr(STRING, data="[" * 100_000), b"", b"\0\1\0\0", b"\0\1\0\0\xff\xff\xff\x7f",
        b"\xff" * 9, b"\0\1\0\0\4\0\0\0\xff\xfe\xfd\0",
    ],
)  # fmt: skip
def test_a_bad_message_loses_only_itself(bad: bytes, tmp_path: Path) -> None:
    recorded = [*ALL, ("/planner/record", STRING, START_NS + 5, bad), ("/tf", TF, START_NS + 5, bad)]
    recorded += [("/head/image_raw", IMAGE, START_NS + 5, bad)]
    recording = Recording(write(tmp_path / "bag", sorted(recorded, key=lambda each: each[2])))
    assert stamps(recording) == list(range(SECONDS))
    assert len(recording.damage) >= 2
    assert poses(recording) == [0.0] * SECONDS


@pytest.mark.parametrize("characters", [2001, 4001, 200_000])
def test_a_decision_with_a_long_instruction_stays_readable(characters: int) -> None:
    """Instructions had no limit in 0.1.0."""
    record = DecisionRecord.from_json(decision(START_NS, instruction="x" * characters))
    assert record.task.instruction.strip("x") == ""
    assert len(record.task.instruction) >= 2000


# --- what is not a recording ----------------------------------------------------------------------------------------

BOMB = struct.pack("<QQQI", 1, 2, 1 << 40, 0) + struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", 4) + b"\0\0\0\0"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"not a recording", MAGIC, MAGIC + b"\x05" + b"\xff" * 8, MAGIC + struct.pack("<BQ", 5, 1 << 62) + b"abc",
        MAGIC + struct.pack("<BQ", 6, len(BOMB)) + BOMB, MAGIC + struct.pack("<BQ", 6, 3) + b"abc",
        MAGIC + struct.pack("<BQ", 3, 6) + b"\1\0\xff\xff\xff\xff",
        MAGIC + struct.pack("<BQHI", 3, 8, 1, 2) + b"\xff\xfe",
        MAGIC + struct.pack("<BQ", 0x0F, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".mcap.zstd", ".db3.zstd", ".txt"])
def test_what_is_not_a_recording_is_a_data_error(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"bag{suffix}").write_bytes(content)
    for path in (tmp_path / f"bag{suffix}", tmp_path):
        with pytest.raises(DataError):
            Recording(path)


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000, "."])
def test_a_path_without_a_recording_is_a_data_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a recording"):
        Recording(tmp_path / name)


@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    cut=st.floats(0.2, 1),
)
@FEW
@pytest.mark.parametrize("kind", ["mcap", "db3"])
def test_any_damage_to_a_file_is_survived_or_a_data_error(
    kind: str,
    edits: list[tuple[float, bytes]],
    cut: float,
    small: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = bytearray(small[kind])
    for share, replacement in edits:
        at = int(share * len(data))
        data[at : at + len(replacement)] = replacement
    file = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    file.write_bytes(data[: int(cut * len(data))])
    with suppress(DataError):
        recording = Recording(file)
        assert recording.lost_s >= 0
        list(recording.decisions())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Recordings of two seconds, uncompressed so that damage reaches every field."""
    folder, recorded = tmp_path_factory.mktemp("small"), messages(seconds=2)
    bag = write(folder / "bag", recorded, compression="none", every=5)
    return {"mcap": (bag / "bag_0.mcap").read_bytes(), "db3": sqlite(folder / "bag.db3", recorded).read_bytes()}


GOOD = json.loads(decision(START_NS))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from paths(child, (*path, key))


@given(path=st.sampled_from([path for path in paths(GOOD) if path]), value=VALUES)
@FEW
def test_any_change_to_a_decision_record_is_accepted_or_a_data_error(path: tuple[Any, ...], value: Any) -> None:
    plain = json.loads(json.dumps(GOOD))
    node = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with suppress(DataError):
        DecisionRecord.from_json(json.dumps(plain)).to_json()


# --- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [b'{"a": 2', b'{"a": 2\0\0\0\0', b"\0" * 4096, b"{", b'{"a": "\xff'])
def test_a_last_line_that_was_cut_or_never_written_is_dropped(torn: bytes, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_bytes(b'{"a": 1}\n' + torn)
    lines = JsonLines(file)
    assert lines.rows == [{"a": 1}]
    lines.append({"a": 3})
    assert file.read_bytes() == b'{"a": 1}\n{"a": 3}\n'


@pytest.mark.parametrize("content", [b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"a":' * 5000 + b"\n", b"x"])
def test_what_is_not_json_lines_is_a_config_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match="line 1 of .* is broken"):
        JsonLines(tmp_path / "results.jsonl")


@given(
    content=st.one_of(
        st.binary(max_size=60), st.lists(VALUES, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
    )
)
@FEW
def test_any_file_is_json_lines_or_a_config_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    file.write_bytes(content)
    with suppress(ConfigError):
        assert all(isinstance(row, dict) for row in JsonLines(file).rows)


READERS: dict[str, Callable[[Path], object]] = {
    "a run's settings": lambda path: claim(path, {"seed": 1}),
    "the planner's settings": load_planner_config,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe\0", b"{", b'{"a":' * 5000, b"2024-13-45", b"[5]"])
def test_an_invalid_settings_file_is_a_config_error(reader: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigError):
        READERS[reader](tmp_path / "file")


@given(content=st.one_of(st.text(max_size=60), VALUES.map(json.dumps)))
@FEW
def test_any_settings_file_is_accepted_or_a_config_error(
    content: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(content, encoding="utf-8", errors="surrogatepass")
    for read in READERS.values():
        with suppress(ConfigError):
            read(file)
