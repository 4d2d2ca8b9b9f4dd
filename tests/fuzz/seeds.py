"""Writes the valid inputs from which fuzzing starts: `python tests/fuzz/seeds.py`, again whenever a format changes."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "faults"), str(TESTS / "serving"), str(TESTS / "ros")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import msgpack
import numpy as np
import test_disk as disk
import test_messages as messages
import yaml
from harness import CORPUS
from mutation import BASE64

from si_embodied.config import PlannerConfig
from si_embodied.evaluation.episode import EpisodeResult, GoalEntry, PlanEntry
from si_embodied.evaluation.records import episode_to_json, plan_to_json
from si_embodied.models.conversion import _VISION
from si_embodied.models.onnx.manifest import Manifest
from si_embodied.robots import SERVICE_BASE
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.serving.messages import pack_decision, pack_refusal, pack_request
from si_embodied.types import Code, Execute, Hold

Seeds = Iterator[tuple[str, bytes]]
FENCED = """```json
{"subgoals":[{"skill":"goto","object":"chair","view":1,"point":[28,42]},{"skill":"turn","degrees":-90}],"done":false}
```"""
PICK = (
    '{"skill":"pick","object":"cup","view":0,"point":[1000,0]},{"skill":"place","object":"a","view":0,"point":[10,20]}'
)
PUSH = '{"skill":"push","object":"cube","view":0,"point":[1,2],"to":[3,4]},{"skill":"stop"}'
OPEN = '{"skill":"navigate","object":"sofa"},{"skill":"open","object":"fridge","view":0,"point":[5,5]}'
PLANS = (
    '{"subgoals":[{"skill":"goto","object":"red chair","view":0,"point":[500,500]}],"done":false}',
    FENCED,
    f'{{"subgoals":[{PICK}],"done":false}}',
    '{"reasoning":"Behind.","subgoals":[{"skill":"turn","degrees":180},{"skill":"forward","metres":1}],"done":false}',
    '<think>The cup is left.</think>{"subgoals":[],"done":true}<|im_end|>',
    f'{{"subgoals":[{PUSH}],"done":true}}',
    '{"subgoals":[{"skill":"explore"},{"skill":"look","degrees":-15},{"skill":"home"}],"done":false}',
    f'{{"subgoals":[{OPEN}],"done":false}}',
)
POST = b"POST /v1/plan HTTP/1.1\r\nHost: a\r\nContent-Type: application/msgpack\r\nContent-Length: %d\r\n\r\n"


def model() -> Seeds:
    """Answers of models and of their servers."""
    for plan in PLANS:
        yield "plan_text_of_every_family", plan.encode()
        of_first_image = plan.replace('"view":0', '"view":1')  # the planner's prompt numbers its images from 1
        yield "planner", f"go to the wall\n{of_first_image}".encode()
    for text in ("<box>[[10, 20, 300, 400]]</box>", '```json\n[{"bbox_2d": [1, 2, 30, 40], "label": "cup"}]\n```',
                 '{"point_2d": [12.5, 999]}'):  # fmt: skip
        yield "region_text", text.encode()
    message: dict[str, Any] = {"role": "assistant", "content": PLANS[0]}
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    replies: list[Any] = [
        {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage},
        {"choices": [{"finish_reason": None, "message": {"content": [{"type": "text", "text": PLANS[1]}]}}]},
        {"choices": [{"finish_reason": "length", "message": {"content": None, "reasoning_content": PLANS[4]}}]},
        {"choices": [{"message": {"content": "", "refusal": "I cannot."}}]},
        {"error": {"message": "overloaded", "code": 500}}, {"object": "error", "message": "bad"},
        {"object": "list", "data": [{"id": "si-nano"}, {"id": "other"}]},
    ]  # fmt: skip
    for reply in replies:
        body = json.dumps(reply).encode()
        yield "chat_reply", body
        yield "server_stream", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    yield "server_stream", b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}"
    yield "server_stream", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    yield "retry_after", b"120"
    yield "retry_after", b"Wed, 21 Oct 2026 07:28:00 GMT"
    prompts = TESTS.parent / "si_embodied" / "prompts"
    for file in ("nav/v1.md", "nav/v2.md", "nav/nano.md", "rearrange/v2.md"):
        if (prompts / file).is_file():
            yield "prompt_file", (prompts / file).read_bytes()


def network() -> Seeds:
    """Messages between robot and planning server."""
    small = messages.request(SERVICE_BASE)
    frames = tuple(
        dataclasses.replace(messages.frame(4, 3, depth=depth), stamp_s=12.5) for depth in (True, False)
    )  # fmt: skip
    observation = dataclasses.replace(small.observation, frames=frames, goal_image=frames[0].rgb)
    small = dataclasses.replace(small, observation=observation)
    plain = dataclasses.replace(
        small, observation=dataclasses.replace(observation, skills=None, goal_image=None, arm=None), memory=type(
            small.memory)()
    )  # fmt: skip
    for request in (small, plain):
        for compressed in (False, True):
            body = pack_request(request, compressed=compressed)
            yield "plan_request", body
            yield "http_request", POST % len(body) + body
            yield "websocket", msgpack.packb([body])
    yield "http_request", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "http_request", b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n"
    yield "websocket", msgpack.packb(["text", b"\xc1"])
    record = dataclasses.replace(messages.RECORD, observation_stamp_s=10.0)
    plan = messages.Plan(subgoals=messages.SUBGOALS, done=False)
    decisions = (
        Execute(messages.GOALS[:4], messages.SUBGOALS, plan, record),
        Execute(messages.GOALS[6:9], messages.SUBGOALS, plan, record),
        Execute(messages.GOALS[-1:], messages.SUBGOALS, plan, record),
        Hold(dataclasses.replace(record, code=Code.NO_GRASP, message="no grasp")),
    )
    for decision in decisions:
        yield "plan_reply", pack_decision(decision)
        yield "remote_planner", pack_decision(decision)
    yield "plan_reply", pack_refusal(messages.RequestRefused("busy", "later", retry_after_s=1.0))
    yield "remote_planner", pack_refusal(messages.RequestRefused("late", "later"))
    yield "access", b"Bearer kkkkkkkkkkkkkkkkkkkk"
    yield "access", b"0123456789abcdef0123456789abcdef\n"
    values = ({"record": [["a", 1], ["b", {"tuple": [1.5, None]}]]}, {"dict": [["x", [True, "y"]]]},
              {"array": ["|u1", [4, 4], 0]}, {"scalar": ["<f4", [], 0]})  # fmt: skip
    for value in values:
        yield "simulator_message", json.dumps(value).encode()


def recorded() -> list[Any]:
    """Two images with depth and poses, and the decision on the first."""
    found = [each for each in disk.ALL if each[2] <= disk.START_NS + disk.STEP_NS]
    return [each for each in found if each[2] < disk.START_NS + 2 * disk.STEP_NS]


def plain_mcap(recorded: list[Any]) -> bytes:
    """An MCAP file without chunks, whose records a mutation can change one by one."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    found, topics = [], list(dict.fromkeys(each[:2] for each in recorded))
    for number, (topic, kind) in enumerate(topics, 1):
        found.append((3, struct.pack("<H", number) + text(kind) + text("ros2msg") + text("")))
        found.append((4, struct.pack("<HH", number, number) + text(topic) + text("cdr") + text("")))
    for topic, kind, stamp_ns, data in recorded:
        found.append((5, struct.pack("<HIQQ", topics.index((topic, kind)) + 1, 0, stamp_ns, stamp_ns) + data))
    found.append((15, bytes(4)))
    return disk.MAGIC + b"".join(struct.pack("<BQ", opcode, len(data)) + data for opcode, data in found)


def files() -> Seeds:
    """Recordings, settings, results and checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for compression in ("zstd",):
            bag = disk.write(folder / compression, recorded(), compression=compression, every=3)
            packed = (bag / f"{compression}_0.mcap").read_bytes()
        yield "mcap", packed[: packed.rindex(struct.pack("<BQI", 0x0F, 4, 0)) + 13]
        yield "mcap", plain_mcap(recorded())
        disk.metadata(folder, ["bag_0.mcap"], message_count=3, compression_mode="FILE")
        yield "bag_metadata", (folder / "metadata.yaml").read_bytes()
        yield "sqlite", disk.sqlite(folder / "bag.db3", recorded()).read_bytes()
        np.save(folder / "depth.npy", np.ones((2, 3), np.float32))
        yield "image_file", (folder / "depth.npy").read_bytes()
    yield "decision_record", disk.decision(disk.START_NS).encode()
    old = TESTS / "ros_nodes" / "recording" / "records_0_1_0.jsonl"
    yield "decision_record", old.read_bytes().split(b"\n")[0]
    yield "settings_file", yaml.safe_dump(dataclasses.asdict(PlannerConfig())).encode()
    yield "settings_file", b"prompts:\n  navigation: nav/v2\n  reasoning: true\n"
    yield "settings_file", b"navigation_prompt: nav/v1\nguard: {max_push_m: 0.5}\n"
    yield "node_settings", json.dumps(dataclasses.asdict(NodeSettings())).encode()
    record = dataclasses.replace(messages.RECORD, raw_text=("a",))
    entry = PlanEntry(record, executed=True, plan=PLANS[0])
    names = {each.name: 1 for each in dataclasses.fields(EpisodeResult)}
    told = {"goals": (GoalEntry(0, "explore", Code.BLOCKED, "a"),), "own_end": Code.UNSURE, "target_seen": True}
    told |= {"ended": "success", "metrics": {"success": 1.0}, "plans": (entry,)}
    result = EpisodeResult(**{**names, **told})  # type: ignore[arg-type]
    rows = [{"type": "run", "format": 1, "config": {"seed": 1}, "versions": {}}, plan_to_json(entry, 1, 0),
            episode_to_json(result)]  # fmt: skip
    yield "results_file", "".join(json.dumps(row) + "\n" for row in rows).encode()
    yield "run_settings", b'{"seed": 1, "config": {"workers": 3}}'
    turns = [{"from": "human", "value": "<image>\nHow far?"}, {"from": "gpt", "value": "2 m"}]
    yield "questions_file", json.dumps({"id": "a", "conversations": turns, "image": ["a.png"]}).encode() + b"\n"
    label = {"id": "a", "capability": "metric", "type": "distance", "form": "number", "answer": "2", "options": ["1"],
             "seed": 3, "accepts": {"unit": "m", "box": [1, 2, 3, 4]}}  # fmt: skip
    yield "questions_file", json.dumps(label).encode() + b"\n"
    for header in ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}},
                   {"a.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}):  # fmt: skip
        text = json.dumps(header).encode()
        yield "weights_file", struct.pack("<Q", len(text)) + text + b"\0\0\0\0"
    yield "checkpoint_config", b'{"model_type":"qwen3_vl","quantization_config":{"quant_method":"fp8"}}'
    vision = {**dict.fromkeys(_VISION, 1), "image_size": 448, "patch_size": 14, "qk_normalization": False}
    original = {"model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "ps_version": "v2",
                "template": "internvl2_5", "vision_config": vision, "downsample_ratio": 0.5,
                "llm_config": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}}  # fmt: skip
    yield "checkpoint_config", json.dumps(original).encode()
    yield "checkpoint_index", b'{"weight_map":{"a":"a.safetensors"},"base_model_name_or_path":"Qwen/base"}'
    manifest = Manifest(
        family="qwen3_vl", precision="int8", dtype="float32", source="a", versions={"onnx": "1"}, opset=20, layers=2,
        shared_heads=2, head_dim=8, hidden_size=16, vocabulary_size=100, tied_embeddings=True, position_axes=3,
        deepstack_layers=1, vision={"patch": 14}, files={"si_embodied_onnx.json": 1},
    )  # fmt: skip
    yield "onnx_manifest", json.dumps({**dataclasses.asdict(manifest), "files": {}}).encode()
    yield "onnx_manifest", json.dumps(dataclasses.asdict(manifest)).encode()
    yield "image_file", png(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    yield "image_file", png(np.arange(20, dtype=np.uint16).reshape(4, 5))


# --- ROS ------------------------------------------------------------------------------------------------------------


def png(pixels: Any) -> bytes:
    """A PNG."""
    return bytes(cv2.imencode(".png", pixels)[1])


def packed(data: bytes) -> str:
    """Bytes in JSON."""
    return BASE64 + base64.b64encode(data).decode()


HEADER = {"stamp": {"sec": 9, "nanosec": 500_000_000}, "frame_id": "optical"}
INFO = {
    "header": HEADER, "height": 4, "width": 6, "distortion_model": "plumb_bob", "d": [0.1, 0, 0, 0, 0],
    "k": [5.0, 0, 2.5, 0, 5.0, 1.5, 0, 0, 1], "p": [5.0, 0, 2.5, 0, 0, 5.0, 1.5, 0, 0, 0, 1, 0], "binning_x": 0,
    "binning_y": 0, "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0},
}  # fmt: skip


def image(encoding: str, size: int, data: bytes = b"") -> dict[str, Any]:
    """A sensor_msgs/Image of 6 x 4 pixels."""
    data = data or bytes(range(24 * size))
    return {"header": HEADER, "height": 4, "width": 6, "encoding": encoding, "is_bigendian": 0, "step": 6 * size,
            "data": packed(data)}  # fmt: skip


def ros() -> Seeds:
    """ROS messages."""
    colour = {"rgb8": 3, "bgra8": 4, "mono8": 1, "mono16": 2, "uyvy": 2, "yuv422_yuy2": 2, "bayer_rggb8": 1,
              "bayer_gbrg16": 2}  # fmt: skip
    metres = image("32FC1", 4, np.full(24, 2.0, "<f4").tobytes())
    for encoding, size in colour.items():
        yield "image", json.dumps(image(encoding, size)).encode()
    yield "image", json.dumps(image("16UC1", 2)).encode()
    yield "image", json.dumps(metres).encode()
    rgb, millimetres = np.arange(72, dtype=np.uint8).reshape(4, 6, 3), np.full((4, 6), 2000, np.uint16)
    inverse = struct.pack("<iff", 0, 20.0, 1.0)
    jpeg = bytes(cv2.imencode(".jpg", rgb)[1])
    coded = {"png": png(rgb), "jpeg": jpeg, "16UC1; compressedDepth": bytes(12) + png(millimetres),
             "32FC1; compressedDepth png": inverse + png(millimetres), "16UC1; png": png(millimetres)}  # fmt: skip
    compressed = [{"header": HEADER, "format": name, "data": packed(data)} for name, data in coded.items()]
    for each in compressed:
        yield "compressed_image", json.dumps(each).encode()
    for changes in (
        {}, {"distortion_model": "equidistant", "d": [0.1, 0.01, 0, 0]},
        {"distortion_model": "rational_polynomial", "d": [0.1] * 8}, {"width": 12, "height": 8, "binning_x": 2,
        "binning_y": 2}, {"width": 20, "height": 20, "roi": {"x_offset": 3, "y_offset": 2, "height": 4, "width": 6}},
    ):  # fmt: skip
        yield "camera_info", json.dumps({**INFO, **changes}).encode()
    for colour_image, depth in ((image("rgb8", 3), metres), (compressed[0], compressed[2]), (compressed[1], None)):
        yield "camera_frame", json.dumps({"image": colour_image, "depth": depth, "info": INFO}).encode()
    pose = {"translation": {"x": 1.0, "y": 2.0, "z": 0.5}, "rotation": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8}}
    link = {"header": {"stamp": {"sec": 9, "nanosec": 900_000_000}, "frame_id": "map"}, "child_frame_id": "base_link",
            "transform": pose}  # fmt: skip
    later = {**link, "header": {"stamp": {"sec": 10, "nanosec": 0}, "frame_id": "map"}}
    mount = {**link, "header": {**HEADER, "frame_id": "base_link"}, "child_frame_id": "optical"}
    yield "transforms", json.dumps({"tf": [link, later], "tf_static": [mount]}).encode()
    position, orientation = pose["translation"], pose["rotation"]
    yield "pose", json.dumps({"position": position, "orientation": orientation, "time_s": 1.7e9}).encode()
    yield "goal_outcome", b'{"goal_stamp_ns": 1700000000000000000, "code": 501, "message": "blocked"}'
    truth = {"stamp_s": 9.5, "visible": [0, 31.5, 20.0], "name": "chair", "at_goal": False, "skill": "pick"}
    yield "ground_truth", json.dumps(truth).encode()
    yield "heartbeat", b"a1b2 /robot/planner active\nc3d4 /other inactive\na1b2 /robot/planner inactive"


def main() -> int:
    """Write them."""
    numbers: dict[str, int] = {}
    for source in (model(), network(), files(), ros()):
        for name, data in source:
            folder = CORPUS / name
            folder.mkdir(parents=True, exist_ok=True)
            numbers[name] = numbers.get(name, 0) + 1
            (folder / f"seed-{numbers[name]}").write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
