from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")

from PIL import Image

from si_embodied.cli.main import main
from si_embodied.data import engine, sampling
from si_embodied.data.engine import generate
from si_embodied.data.records import read_dataset
from si_embodied.data.sampling import HELD_OUT_FROM
from si_embodied.data.settings import DataConfig
from si_embodied.errors import ConfigError, DataError, RecordError, UnknownNameError

CHEAP = ("assembly.turn_angle", "assembly.folded_sheet", "relation.front_behind")


def bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of four questions, made here by one worker."""
    out = tmp_path_factory.mktemp("data") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "SHARD_SIZE", 4)
        generate(DataConfig(12, 3, CHEAP, 96), out)
    return out


def test_another_process_with_two_workers_makes_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    # The workers are fresh processes, so sitecustomize must set the small shard size there.
    site = tmp_path / "site"
    site.mkdir()
    # Only in the script and its workers: in every Python process that MuJoCo starts, the import would recurse.
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "if sys.orig_argv[-1].endswith('make.py') or '--multiprocessing-fork' in sys.orig_argv:\n"
        "    import si_embodied.data.sampling as s\n"
        "    s.SHARD_SIZE = 4\n"
    )
    code = (
        "from pathlib import Path\n"
        "from si_embodied.data.engine import generate\n"
        "from si_embodied.data.settings import DataConfig\n"
        "from si_embodied.parallel.placement import Placement\n"
        "if __name__ == '__main__':\n"
        f"    generate(DataConfig(12, 3, {CHEAP!r}, 96), Path({str(tmp_path / 'set')!r}), placement=Placement(2))\n"
    )
    script = tmp_path / "make.py"
    script.write_text(code)
    # This hides the environment's own sitecustomize, which rendering does not need.
    paths = [str(site), str(Path(engine.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    subprocess.run([sys.executable, str(script)], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert bytes_of(tmp_path / "set") == bytes_of(dataset)


def test_a_resumed_data_set_equals_an_uninterrupted_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "SHARD_SIZE", 4)
    write, made = engine.write_shard, []

    def interrupted(config: DataConfig, shard: int, out: Path) -> Path:
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(shard)
        return write(config, shard, out)

    monkeypatch.setattr(engine, "write_shard", interrupted)
    config = DataConfig(12, 3, CHEAP, 96)
    with pytest.raises(KeyboardInterrupt):
        generate(config, tmp_path / "set")
    with pytest.raises(DataError, match="no finished data set"):
        list(read_dataset(tmp_path / "set"))

    def counted(config: DataConfig, shard: int, out: Path) -> Path:
        made.append(shard)
        return write(config, shard, out)

    monkeypatch.setattr(engine, "write_shard", counted)
    generate(config, tmp_path / "set")
    assert made == [0, 1, 2]
    assert bytes_of(tmp_path / "set") == bytes_of(dataset)


def test_the_manifest_counts_and_hashes(dataset: Path) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    entries = list(read_dataset(dataset))
    assert manifest["questions"] == len(entries) == 12
    assert manifest["types"] == dict.fromkeys(sorted(CHEAP), 4)
    for name in ("questions.jsonl", "labels.jsonl"):
        assert manifest["sha256"][name] == hashlib.sha256((dataset / name).read_bytes()).hexdigest()
    assert manifest["images"] == len(list((dataset / "images").rglob("*.png")))
    assert {"numpy", "mujoco", "renderer", "si-embodied"} <= set(manifest["versions"])


def test_images_have_the_requested_size(dataset: Path) -> None:
    for entry, labels in read_dataset(dataset):
        assert labels.seed < HELD_OUT_FROM
        for path in entry.images:
            with Image.open(dataset / path) as image:
                assert np.array(image).shape == (96, 96, 3)


def test_held_out_scenes_are_never_trained_on(tmp_path: Path) -> None:
    generate(DataConfig(2, 3, ("relation.front_behind",), 96, held_out=True), tmp_path)
    assert all(labels.seed >= HELD_OUT_FROM for _, labels in read_dataset(tmp_path))


def test_another_seed_gives_other_questions(dataset: Path, tmp_path: Path) -> None:
    generate(DataConfig(3, 4, CHEAP, 96), tmp_path)
    assert not set(bytes_of(tmp_path / "images").values()) & set(bytes_of(dataset / "images").values())


def test_other_settings_need_another_folder(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        generate(DataConfig(12, 4, CHEAP, 96), dataset)


def test_an_unknown_kind_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="relation.left_right"):
        DataConfig(1, 0, ("relation.left_rigth",))


def test_a_full_disk_is_a_record_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RecordError, match="No space left on device"):
        generate(DataConfig(1, 0, ("assembly.turn_angle",), 96), tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_type_that_finds_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_SCENES", 1)
    # Four objects on one table have at most a few clear cases; with one scene some slots stay empty.
    manifest = generate(DataConfig(6, 0, ("relation.between",), 96), tmp_path)
    unfilled = manifest.left_out.get("relation.between: unfilled", 0)
    assert manifest.questions + unfilled == 6
    assert unfilled >= 2  # at most four are asked about one table


def test_the_command_generates_audits_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "set")
    kinds = ["--kinds", "assembly.turn_angle", "--count", "60", "--image-size", "96"]
    assert main(["data", "generate", *kinds, "--out", out]) == 0
    assert "60 questions" in capsys.readouterr().out
    assert main(["data", "inspect", out]) == 0
    page = (tmp_path / "set" / "inspect.html").read_text()
    assert page.count("<img") == 3
    assert "By how much was the left figure turned" in page
    main(["data", "audit", out, "--json"])
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["type"] == "assembly.turn_angle"
    assert row["chance"] == 0.25


def test_auditing_an_empty_folder_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(tmp_path)]) == 2
    assert "no finished data set" in capsys.readouterr().err


def test_types_are_listed_with_their_geometry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "types"]) == 0
    shown = capsys.readouterr().out
    assert "perspective.facing" in shown
    assert "mental reconstruction" in shown
