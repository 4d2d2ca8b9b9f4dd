"""Energy meters, on files laid out as the kernel lays them out."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from si_embodied.benchmarking.latency import energy
from si_embodied.benchmarking.latency.energy import Counter, Sampler, integral, measured, meters


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy.shutil, "which", lambda _: None)


def written(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_a_counter_that_wraps_around_is_followed(tmp_path: Path) -> None:
    zone = written(tmp_path / "intel-rapl:0", name="package-0", max_energy_range_uj=9_999_999, energy_uj=9_000_000)
    counter = Counter(zone)
    counter.start()
    (zone / "energy_uj").write_text("1000000\n")  # a million to the end, another one after it
    assert counter.stop() == pytest.approx(2.0)
    assert counter.source == "RAPL package-0"


def test_power_is_integrated_by_trapezoids() -> None:
    assert integral([(0.0, 10.0), (1.0, 20.0), (3.0, 20.0)]) == pytest.approx(15.0 + 40.0)


def test_a_sampler_reads_until_it_is_stopped() -> None:
    readings = itertools.count()
    sampler = Sampler("test", lambda: 5.0 + 0 * next(readings), every_s=0.001)
    sampler.start()
    assert sampler.stop() >= 0.0
    stopped = next(readings)
    assert next(readings) == stopped + 1  # nobody else reads any more


def test_the_whole_modules_rail_of_a_jetson_is_used(tmp_path: Path) -> None:
    """5 V and 2 A are 10 W; the other rails are parts of it."""
    written(
        tmp_path / "hwmon" / "hwmon3", in1_label="VDD_IN", in1_input=5000, curr1_input=2000,
        in2_label="VDD_CPU_GPU_CV", in2_input=5000, curr2_input=900,
    )  # fmt: skip
    (found,) = meters(tmp_path)
    assert found.source == "INA3221 VDD_IN"
    assert isinstance(found, Sampler)
    assert found._read_w() == pytest.approx(10.0)


def test_zones_within_a_package_are_not_counted_twice(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        written(tmp_path / "powercap" / name, name=name, max_energy_range_uj=10, energy_uj=1)
    assert [meter.source for meter in meters(tmp_path)] == ["RAPL intel-rapl:0", "RAPL intel-rapl:1"]


def test_a_meter_that_cannot_be_read_is_absent(tmp_path: Path) -> None:
    """Such as RAPL, whose counter only root may read by default."""
    written(tmp_path / "powercap" / "intel-rapl:0", name="package-0", max_energy_range_uj=10)
    assert meters(tmp_path) == []


def test_joules_are_known_by_source_after_the_block(tmp_path: Path) -> None:
    zone = written(tmp_path / "intel-rapl:0", name="package-0", max_energy_range_uj=10**9, energy_uj=0)
    with measured([Counter(zone)]) as joules:
        (zone / "energy_uj").write_text("3000000\n")
    assert joules == {"RAPL package-0": pytest.approx(3.0)}


def test_a_meter_that_fails_on_the_way_is_left_out(tmp_path: Path) -> None:
    """Part of the energy would look like all of it."""
    zone = written(tmp_path / "intel-rapl:0", name="package-0", max_energy_range_uj=10**9, energy_uj=0)
    with measured([Counter(zone)]) as joules:
        (zone / "energy_uj").unlink()
    assert joules == {}


def test_all_gpus_of_a_machine_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '250.5\\n100.25\\n'\n")
    program.chmod(0o755)
    monkeypatch.setattr(energy.shutil, "which", lambda _: str(program))
    (found,) = meters(tmp_path)
    assert isinstance(found, Sampler)
    assert found._read_w() == pytest.approx(350.75)
