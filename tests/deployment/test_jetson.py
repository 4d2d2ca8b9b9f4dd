"""nvpmodel, jetson_clocks, tegrastats and the thermal zones of a Jetson, in the formats that boards print."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import told

from si_embodied.deployment.jetson import (
    check_jetson,
    hottest_zone,
    is_jetson,
    parse_clocks,
    parse_power_mode,
    parse_temperatures,
)

RELEASE = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: Thu Sep 18 2025"
LOCKED = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super
Online CPUs: 0-5
cpu0: Online=1 Governor=schedutil MinFreq=1728000 MaxFreq=1728000 CurrentFreq=1728000
GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
FAN Dynamic Speed Control=kernel hwmon0_pwm1=88
NV Power Mode: MAXN_SUPER"""
FREE = """SOC family:tegra210  Machine:NVIDIA Jetson Nano Developer Kit
GPU MinFreq=76800000 MaxFreq=921600000 CurrentFreq=153600000
EMC MinFreq=204000000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=0
NV Power Mode: MAXN"""
ORIN = (
    "05-12-2026 00:30:15 RAM 3423/7620MB (lfb 78x4MB) SWAP 0/3810MB (cached 0MB) CPU [2%@729,6%@729,off,1%@729] "
    "GR3D_FREQ 0% cpu@45.531C soc2@44.781C soc0@45.937C gpu@46.468C tj@46.468C soc1@46C VDD_IN 3311mW/3311mW"
)
NANO = (
    "RAM 1766/3964MB (lfb 197x4MB) SWAP 0/2048MB (cached 0MB) CPU [24%@1224,15%@1224] EMC_FREQ 0% GR3D_FREQ 0% "
    "PLL@21C CPU@25C PMIC@100C GPU@23.5C AO@33.5C thermal@24.5C POM_5V_IN 2545/2547"
)
MEMORY = "MemTotal:       32000000 kB\nMemFree: 1 kB\nMemAvailable:   30000000 kB"
BOARD = {"proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0", "etc/nv_tegra_release": RELEASE}


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("NV Power Mode: MAXN\n0", "MAXN", 0),
        ("NV Power Mode: MODE_30W\n2\n", "MODE_30W", 2),
        ("NV Fan Mode:quiet\nNV Power Mode: 15W\n0", "15W", 0),
        ("NV Power Mode: MAXN_SUPER", "MAXN_SUPER", None),
    ],
)
def test_a_power_mode_is_read(text: str, name: str, number: int | None) -> None:
    mode = parse_power_mode(text)
    assert mode is not None
    assert (mode.name, mode.number) == (name, number)


def test_what_is_no_power_mode_is_none() -> None:
    assert parse_power_mode("NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13") is None


def test_memory_is_locked_by_its_override() -> None:
    clocks = parse_clocks(LOCKED)
    assert (clocks["GPU"].ratio, clocks["GPU"].locked) == (1.0, True)
    assert clocks["EMC"].locked


def test_free_clocks_are_not_locked() -> None:
    clocks = parse_clocks(FREE)
    assert not clocks["GPU"].locked
    assert clocks["GPU"].ratio == pytest.approx(1 / 6)
    assert not clocks["EMC"].locked


def test_temperatures_are_read_from_the_last_whole_line() -> None:
    found = parse_temperatures(f"{NANO}\n{ORIN}\n05-12-2026 00:30:16 RAM 34")
    assert found["tj"] == 46.468
    assert found["soc1"] == 46.0


def test_the_pmic_s_constant_and_dead_sensors_are_no_temperatures() -> None:
    found = parse_temperatures(NANO + " iwlwifi@-256C")
    assert "PMIC" not in found
    assert "iwlwifi" not in found
    assert max(found.values()) == 33.5


def test_a_good_board_is_fine(tmp_path: Path) -> None:
    files = {**BOARD, "proc/meminfo": MEMORY, "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n"}
    machine = told(tmp_path, files, nvpmodel="NV Power Mode: MAXN\n0", jetson_clocks=LOCKED, tegrastats=ORIN)
    assert is_jetson(machine)
    assert {each.verdict for each in check_jetson(machine)} == {"fine"}


def test_a_limited_mode_free_clocks_heat_and_over_current_are_off_with_their_fix(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    files = {
        **BOARD,
        "proc/meminfo": MEMORY,
        f"{zone}/type": "tj-thermal",
        f"{zone}/temp": "99500",
        f"{zone}/trip_point_0_type": "passive",
        f"{zone}/trip_point_0_temp": "99000",
        f"{zone}/trip_point_1_type": "critical",
        f"{zone}/trip_point_1_temp": "104500",
        "sys/class/hwmon/hwmon3/oc2_event_cnt": "15",
        "sys/class/hwmon/hwmon3/oc3_event_cnt": "37",
    }
    machine = told(tmp_path, files, nvpmodel="NV Power Mode: MODE_30W\n2", jetson_clocks=FREE)
    found = {each.what: each for each in check_jetson(machine)}
    for what in ("power mode", "clocks", "temperature", "over-current"):
        assert found[what].verdict == "off", what
        assert found[what].fix, what
    assert "oc2_event_cnt 15, oc3_event_cnt 37" in found["over-current"].says


def test_a_board_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    found = {each.what: each.verdict for each in check_jetson(told(tmp_path))}
    assert set(found.values()) == {"unknown"}


def test_the_zone_nearest_to_its_limit_counts(tmp_path: Path) -> None:
    """70 °C of at most 75 is nearer than 80 of 99."""
    files = {}
    for index, (kind, now, limit) in enumerate([("cpu", 80000, 99000), ("wifi", 70000, 75000)]):
        zone = f"sys/class/thermal/thermal_zone{index}"
        files |= {
            f"{zone}/type": kind,
            f"{zone}/temp": str(now),
            f"{zone}/trip_point_0_type": "passive",
            f"{zone}/trip_point_0_temp": str(limit),
        }
    assert hottest_zone(told(tmp_path, files)) == ("wifi", 70.0, 75.0)
