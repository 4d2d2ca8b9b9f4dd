"""ONNX Runtime's build, DDS, clock and disk; and `doctor --deploy` as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from told import told

from si_embodied.cli.main import main
from si_embodied.deployment.check import check_deployment
from si_embodied.deployment.clock import check_clock, parse_chrony, parse_timedatectl
from si_embodied.deployment.dds import check_dds, segment_bytes
from si_embodied.deployment.disk import judge_disk
from si_embodied.deployment.machine import Machine
from si_embodied.deployment.onnx_build import judge_build

ROOT = Path(__file__).parents[2]
TRACKING = """Reference ID    : CB00710F (foo.example.net)
Stratum         : 3
Ref time (UTC)  : Fri Jan 27 09:49:17 2017
System time     : {offset} seconds {side} of NTP time
Last offset     : -0.000006747 seconds
RMS offset      : 0.000035822 seconds
Frequency       : 3.225 ppm slow
Residual freq   : 0.000 ppm
Skew            : 0.129 ppm
Root delay      : 0.013639022 seconds
Root dispersion : 0.001100737 seconds
Update interval : 64.2 seconds
Leap status     : {leap}"""
CPU, CUDA = ["AzureExecutionProvider", "CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]


# --- ONNX Runtime ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jetson", [False, True])
def test_a_build_without_cuda_beside_a_gpu_is_off(jetson: bool) -> None:
    found = judge_build({"onnxruntime": "1.23.0"}, CPU, gpu=True, jetson=jetson)
    assert found.verdict == "off"
    assert "in silence" in found.says
    assert ("JetPack" in found.fix) == jetson


def test_a_build_with_cuda_beside_a_gpu_is_fine_and_without_a_gpu_a_note() -> None:
    assert judge_build({"onnxruntime-gpu": "1.23.0"}, CUDA, gpu=True, jetson=False).verdict == "fine"
    assert judge_build({"onnxruntime-gpu": "1.23.0"}, CUDA, gpu=False, jetson=False).verdict == "note"


def test_both_builds_together_are_off_whatever_they_report() -> None:
    found = judge_build({"onnxruntime": "1.23.0", "onnxruntime-gpu": "1.23.0"}, CUDA, gpu=True, jetson=False)
    assert found.verdict == "off"
    assert "pip uninstall onnxruntime onnxruntime-gpu" in found.fix


# --- DDS ------------------------------------------------------------------------------------------------------------


def test_our_profile_is_fine(tmp_path: Path) -> None:
    profile = ROOT / "config" / "fastdds.xml"
    assert segment_bytes(profile.read_text(encoding="utf-8")) == 16 << 20
    machine = told(tmp_path, {"proc/sys/net/core/rmem_max": "212992"})
    found = {each.what: each.verdict for each in check_dds(machine, {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)})}
    assert found == {"DDS profile": "fine", "shared memory": "unknown", "socket buffers": "note"}


def test_without_a_profile_small_buffers_are_off(tmp_path: Path) -> None:
    machine = told(tmp_path, {"proc/sys/net/core/rmem_max": "212992"})
    found = {each.what: each for each in check_dds(machine, {})}
    assert found["DDS profile"].verdict == found["socket buffers"].verdict == "off"
    assert "60-si-embodied.conf" in found["socket buffers"].fix


@pytest.mark.parametrize("text", ["<dds/>", "<transport_descriptor><type>UDPv4</type></transport_descriptor>"])
def test_a_profile_without_shared_memory_is_off(tmp_path: Path, text: str) -> None:
    profile = tmp_path / "profile.xml"
    profile.write_text(text)
    first = next(iter(check_dds(told(tmp_path), {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)})))
    assert first.verdict == "off"


def test_a_profile_that_is_not_there_is_off(tmp_path: Path) -> None:
    first = next(iter(check_dds(told(tmp_path), {"FASTDDS_DEFAULT_PROFILES_FILE": str(tmp_path / "none.xml")})))
    assert first.verdict == "off"
    assert "cannot be read" in first.says


def test_other_middleware_is_not_judged(tmp_path: Path) -> None:
    first = next(iter(check_dds(told(tmp_path), {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})))
    assert first.verdict == "note"


# --- clock ----------------------------------------------------------------------------------------------------------


def test_chrony_s_offset_has_a_sign() -> None:
    slow = TRACKING.format(offset="0.000006523", side="slow", leap="Normal")
    fast = TRACKING.format(offset="0.250000000", side="fast", leap="Normal")
    assert parse_chrony(slow) == (-0.000006523, "Normal")
    assert parse_chrony(fast) == (0.25, "Normal")
    assert parse_chrony("506 Cannot talk to daemon") is None


@pytest.mark.parametrize(
    ("offset", "leap", "verdict"),
    [
        ("0.000006523", "Normal", "fine"),
        ("0.250000000", "Normal", "off"),
        ("0.000000000", "Not synchronised", "off"),
    ],
)
def test_chrony_is_judged_by_its_offset(tmp_path: Path, offset: str, leap: str, verdict: str) -> None:
    text = TRACKING.format(offset=offset, side="fast", leap=leap)
    assert check_clock(told(tmp_path, chronyc=text)).verdict == verdict


def test_systemd_is_asked_where_there_is_no_chrony(tmp_path: Path) -> None:
    shown = "Timezone=UTC\nLocalRTC=no\nCanNTP=yes\nNTP=yes\nNTPSynchronized={}\nTimeUSec=Sun 2026-11-29 22:31:00 UTC\n"
    assert parse_timedatectl(shown.format("yes")) is True
    assert check_clock(told(tmp_path, timedatectl=shown.format("yes"))).verdict == "fine"
    assert check_clock(told(tmp_path, timedatectl=shown.format("no"))).verdict == "off"


def test_a_clock_that_nobody_knows_of_is_unknown(tmp_path: Path) -> None:
    assert parse_timedatectl("System has not been booted with systemd as init system (PID 1).") is None
    assert check_clock(told(tmp_path)).verdict == "unknown"


# --- disk -----------------------------------------------------------------------------------------------------------


def test_ten_minutes_of_a_raw_camera_must_fit() -> None:
    """640 x 480 pixels of 5 bytes at 30 Hz are 46 MB/s: 28 GB in ten minutes."""
    assert judge_disk("/data", 30_000_000_000, 10**12).verdict == "fine"
    found = judge_disk("/data", 20_000_000_000, 10**12)
    assert found.verdict == "off"
    assert "free 8 GB" in found.fix


# --- programs -------------------------------------------------------------------------------------------------------


def test_a_program_that_never_ends_gives_what_it_has_printed() -> None:
    printed = Machine().output("sh", "-c", "echo one; exec sleep 30", timeout_s=1.0)
    assert printed == "one"


def test_a_missing_or_failing_program_gives_nothing() -> None:
    assert Machine().output("no-such-program-here") is None
    assert Machine().output("false") is None


# --- the command ----------------------------------------------------------------------------------------------------


def test_a_machine_that_tells_nothing_is_never_good(tmp_path: Path) -> None:
    found = {each.what: each.verdict for each in check_deployment(told(tmp_path), {}, tmp_path)}
    assert found["temperature"] == found["clock"] == found["socket buffers"] == "unknown"
    assert found["DDS profile"] == "off"


def test_the_command_prints_one_line_of_json_and_its_exit_code_is_the_verdict(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["doctor", "--deploy", "--json", "--recordings", str(tmp_path)])
    shown = capsys.readouterr().out
    report = json.loads(shown)
    assert code == (0 if report["verdict"] == "fine" else 1)
    names = {each["what"] for each in report["findings"]}
    assert {"ONNX Runtime", "DDS profile", "shared memory", "socket buffers", "clock", "disk", "camera rates"} <= names
    for each in report["findings"]:
        assert each["verdict"] in ("fine", "note") or each["fix"], f"{each['what']} is {each['verdict']} without a fix"
