"""nvidia-smi's CSV, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import told

from si_embodied.deployment.gpu import check_gpus, parse_gpus

# nvidia-smi --query-gpu=… --format=csv,noheader,nounits
IDLE = "NVIDIA GeForce RTX 4090, 570.133.07, 24564, 23876, 210, 3105, 450.00, 450.00, 34, 0x0000000000000001"
CAPPED = "NVIDIA GeForce RTX 3090, 591.86, 24576, 4576, 1890, 2115, 300.00, 370.00, 71, 0x0000000000000004"
HOT = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, 81008, 1215, 1980, 700.00, 700.00, 92, 0x0000000000000060"
JETSON = "Orin (nvgpu), 540.4.0, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [Not Supported]"


def verdicts(tmp_path: Path, text: str) -> dict[str, str]:
    return {each.what: each.verdict for each in check_gpus(told(tmp_path, nvidia_smi=text))}


def test_a_row_is_read_with_its_units() -> None:
    (gpu,) = parse_gpus(IDLE)
    assert (gpu.name, gpu.driver) == ("NVIDIA GeForce RTX 4090", "570.133.07")
    assert (gpu.total_bytes, gpu.free_bytes) == (24564 * 1024**2, 23876 * 1024**2)
    assert (gpu.power_limit_w, gpu.temperature_c, gpu.reasons) == (450.0, 34.0, 1)


def test_what_the_card_does_not_tell_is_none() -> None:
    (gpu,) = parse_gpus(JETSON)
    assert (gpu.free_bytes, gpu.power_limit_w, gpu.reasons) == (None, None, None)


@pytest.mark.parametrize("text", ["", "No devices were found", "NVIDIA-SMI has failed because it couldn't communicate"])
def test_an_error_message_is_no_card(text: str) -> None:
    assert parse_gpus(text) == []


def test_an_idle_card_is_fine(tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, IDLE).values()) == {"fine"}


def test_a_power_cap_and_a_lowered_limit_are_off_with_their_fix(tmp_path: Path) -> None:
    found = {each.what: each for each in check_gpus(told(tmp_path, nvidia_smi=CAPPED))}
    assert found["GPU 0 throttling"].verdict == "off"
    assert "the power cap" in found["GPU 0 throttling"].says
    assert "nvidia-smi -pl 370" in found["GPU 0 power"].fix


def test_heat_is_off(tmp_path: Path) -> None:
    (found,) = (each for each in check_gpus(told(tmp_path, nvidia_smi=HOT)) if each.what == "GPU 0 throttling")
    assert found.verdict == "off"
    assert "the driver's thermal limit, the hardware's thermal limit at 92 °C" in found.says
    assert "cool it" in found.fix


def test_memory_is_judged_by_what_fits(tmp_path: Path) -> None:
    """An 8B model needs about 19 GB in bfloat16 with room for images: it fits 23.9 GiB free and not 4.5."""
    full = {each.what: each for each in check_gpus(told(tmp_path, nvidia_smi=IDLE))}["GPU 0 memory"]
    assert "--weights full" in full.says
    assert "8B" in full.says
    little = {each.what: each for each in check_gpus(told(tmp_path, nvidia_smi=CAPPED))}["GPU 0 memory"]
    assert "--weights full" not in little.says


def test_what_is_not_told_is_unknown_and_not_fine(tmp_path: Path) -> None:
    found = verdicts(tmp_path, JETSON)
    assert found["GPU 0 memory"] == found["GPU 0 throttling"] == "unknown"
    assert found["GPU 0 power"] == "note"


def test_a_driver_without_a_card_is_off_and_no_driver_is_a_note(tmp_path: Path) -> None:
    assert verdicts(tmp_path, "No devices were found") == {"GPU": "off"}
    assert [each.verdict for each in check_gpus(told(tmp_path))] == ["note"]
