"""The study of noise plays the same seeds with each profile, and says what is left of the success."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")

from si_embodied.cli.main import parse
from si_embodied.cli.study import Noise
from si_embodied.errors import UnknownNameError
from si_embodied.sensor_noise.profiles import PROFILES
from si_embodied.studies import noise
from si_embodied.studies.noise import QUIET, NoiseResults, NoiseRow
from si_embodied.studies.playing import Played
from si_embodied.studies.settings import NoiseRun


def played(*success: int) -> Played:
    """Episodes of the seeds from 0."""
    count = len(success)
    return Played(tuple(range(count)), success, (), (3,) * count, (1,) * count, 0.125)


@pytest.fixture
def run(tmp_path: Path, fake_world: str) -> NoiseRun:
    """Two episodes in the smallest world, of a policy that needs no model."""
    model = tmp_path / "model"
    model.mkdir()
    return NoiseRun(
        model=model, out=tmp_path / "out", tasks=(f"{fake_world}:objectnav",), policy="thinker", episodes=2, seed=6,
        profiles=("realsense", "zed"),
    )  # fmt: skip


def test_every_profile_has_records_of_its_own_that_are_resumed(run: NoiseRun, tmp_path: Path) -> None:
    found = noise.study(run, tmp_path)
    assert [(row.profile, row.played.seeds) for row in found.rows] == [
        (QUIET, (6, 7)), ("realsense", (6, 7)), ("zed", (6, 7)),
    ]  # fmt: skip
    records = {file.name: file.read_bytes() for file in run.out.iterdir()}
    names = {name: json.loads(text.splitlines()[0])["config"].get("noise", {}) for name, text in records.items()}
    assert {name: value.get("name", QUIET) for name, value in names.items()} == {
        f"world-objectnav-thinker-{profile}.jsonl": profile for profile in (QUIET, "realsense", "zed")
    }
    assert noise.study(run, tmp_path) == found
    assert {file.name: file.read_bytes() for file in run.out.iterdir()} == records
    assert NoiseResults.read(tmp_path / "noise.json") == found


def test_an_unknown_profile_is_named_before_anything_is_played(run: NoiseRun, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="orbbec"):
        noise.study(dataclasses.replace(run, profiles=("orbec",)), tmp_path)
    assert not run.out.exists()


def test_the_table_compares_the_same_seeds() -> None:
    """Of 4 successes 2 are lost and none is won: half is left, and McNemar's exact p is 2 * 0.5^2."""
    rows = (
        NoiseRow("World:a", QUIET, played(1, 1, 1, 1, 0)), NoiseRow("World:a", "zed", played(1, 1, 0, 0, 0)),
        NoiseRow("World:b", QUIET, played(1, 1, 0, 0, 0)), NoiseRow("World:b", "zed", played(1, 1, 1, 0, 0)),
    )  # fmt: skip
    found = NoiseResults({}, rows)
    cells = [cell.strip() for cell in found.table()[2].split("|")[1:-1]]
    assert [cells[0], cells[1], *cells[4:8]] == ["World:a", "zed", "0.50", "2", "0", "0.5"]
    assert found.headline() == "With noise: zed keeps 0.83 of the success (least: 0.50 on World:a)"


def test_without_any_success_nothing_can_be_lost() -> None:
    rows = NoiseRow("World:a", QUIET, played(0, 0)), NoiseRow("World:a", "zed", played(0, 0))
    assert "keeps 1.00" in NoiseResults({}, rows).headline()


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from si_embodied.studies.plots import draw

    rows = NoiseRow("World:a", QUIET, played(1, 1)), NoiseRow("World:a", "zed", played(0, 1))
    draw(NoiseResults({}, rows), tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 1000


def test_profiles_are_given_by_name() -> None:
    command, _ = parse(["study", "noise", "--profiles", "zed", "orbbec", "--policy", "perfect-pixels"])
    assert isinstance(command, Noise)
    assert (command.playing.profiles, command.playing.policy) == (("zed", "orbbec"), "perfect-pixels")
    assert set(command.playing.profiles) < set(PROFILES)
    assert len(command.playing.tasks) == 9
