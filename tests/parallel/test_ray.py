"""Two real Ray nodes on this machine give the records that one process gives, and a worker or a node that dies takes
none with it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.runner import OnEpisode, evaluate
from si_embodied.evaluation.video import VideoShelf
from si_embodied.parallel.placement import HERE, Placement

psutil = pytest.importorskip("psutil")
ray = pytest.importorskip("ray", reason="needs the extra scale")
pytest.importorskip("mujoco")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TABLETOP = EvaluationConfig("si_embodied/Tabletop-v0", "planner", "base", episodes=6, seed=100_000)


class Nodes:
    """`ray start`, twice. Every process is ended by its own id."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.mark = folder, folder / "died"
        self._nodes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def start(self) -> None:
        port = self.address.partition(":")[2]
        self._start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder}")
        self.other = self._start(f"--address={self.address}")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a node, and wait until it runs. Ray gives itself 30 s for that, which a busy machine may exceed."""
        command = [
            str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--object-store-memory=100000000",
            "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", *arguments,
        ]  # fmt: skip
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'worlds'}"
        own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "FAKE_WORLD_MARK": str(self.mark)}
        own["RAY_worker_niceness"] = "0"  # Ray would leave the CPU to everybody else
        for _ in range(4):
            log = self._folder / f"{len(list(self._folder.glob('*.txt')))}.txt"
            with log.open("wb") as stream:
                node = subprocess.Popen(command, env={**os.environ, **own}, stdout=stream, stderr=stream)
            self._nodes.append(node)
            while node.poll() is None:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.2)
        raise RuntimeError(log.read_text())

    def close(self) -> None:
        """End every process that was started for these nodes, by its own id."""
        for node in self._nodes:
            self.kill(node)
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if str(self._folder) in words or self.address in words:
                process.kill()

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Pull the plug of one node."""
        try:
            processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        node.wait(10)
        psutil.wait_procs(processes, 10)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # Ray's sockets have names of at most 107 characters
    started = Nodes(folder)
    try:
        started.start()
        yield started
    finally:
        ray.shutdown()
        started.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in workers: sums in another order would differ in the last digits
    try:
        return determined(play(TABLETOP, tmp_path_factory.mktemp("serial"), HERE))
    finally:
        torch.set_num_threads(threads)


def play(
    config: EvaluationConfig, folder: Path, placement: Placement, on_episode: OnEpisode = lambda _: None, **more: Any
) -> tuple[EpisodeResult, ...]:
    records = RecordFile(folder / "records.jsonl", config.identity())
    return evaluate(config, records, placement=placement, on_episode=on_episode, **more).episodes


def determined(episodes: tuple[EpisodeResult, ...]) -> Mapping[int, Any]:
    """All that an episode's record says, but for the time that things took on this machine."""
    rows = {}
    for episode in episodes:
        row = dataclasses.asdict(episode)
        row.pop("wall_s")
        for plan in row["plans"]:
            plan["record"].pop("latency_s")
        rows[episode.seed] = row
    return rows


def test_an_address_without_a_cluster_is_an_error(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(fake_world, "stopper", episodes=2)
    with pytest.raises(ConfigError, match=r"no Ray cluster can be used at '127.0.0.1:9'.*--ray local"):
        play(config, tmp_path, Placement(ray="127.0.0.1:9"))


def test_a_worker_that_dies_loses_nothing_and_videos_come_from_other_nodes(
    fake_world: str, tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluationConfig(fake_world, "mortal", episodes=6)
    (tmp_path / "died").touch()
    monkeypatch.setenv("FAKE_WORLD_MARK", str(tmp_path / "died"))
    expected = determined(play(config, tmp_path / "serial", HERE))
    shelf = VideoShelf(tmp_path / "videos", 6)
    assert determined(play(config, tmp_path, Placement(ray=nodes.address), shelf=shelf)) == expected
    assert nodes.mark.exists(), "a worker died"
    assert len(shelf.paths) == 6
    assert all(path.stat().st_size > 1000 for path in shelf.paths)


def test_two_processes_give_the_records_of_one(serial: Mapping[int, Any], tmp_path: Path) -> None:
    assert determined(play(TABLETOP, tmp_path, Placement(2))) == serial


def test_two_nodes_give_the_records_of_one_process_although_one_of_them_dies(
    serial: Mapping[int, Any], tmp_path: Path, nodes: Nodes
) -> None:
    seen: list[int] = []

    def pull_the_plug(result: EpisodeResult) -> None:
        seen.append(result.seed)
        if len(seen) == 2:
            nodes.kill(nodes.other)

    found = determined(play(TABLETOP, tmp_path, Placement(ray=nodes.address), pull_the_plug))
    assert found == serial
    assert sorted(seen) == list(TABLETOP.seeds), "no episode is recorded twice"
