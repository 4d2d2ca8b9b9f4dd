"""Resolving models by name: from a hub in another process, without a network, and as paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("huggingface_hub")

from si_embodied.models.hub import model_name, resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SERVED = "sensenova/SenseNova-SI-1.1-Qwen3-VL-8B"
WANTED = {"config.json", "tokenizer.json", "merges.txt", "model-00001-of-00001.safetensors"}
CACHED = f"models--{SERVED.replace('/', '--')}/snapshots/{COMMIT}"

# The hub's settings are read when its library is imported: each case is a process of its own.
RESOLVE = """
import json, sys
from si_embodied.errors import CheckpointError
from si_embodied.models.hub import model_name, resolve_model
def resolve(model):
    try:
        path = resolve_model(model)
    except CheckpointError as error:
        return {"error": str(error)}
    return {"path": str(path), "name": model_name(path)}
print(json.dumps([resolve(model) for model in sys.argv[1:]]))
"""


class Hub:
    """A hub in another process, which records its requests."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).parents[1] / "servers" / "fake_hub.py"
        command = [sys.executable, str(script), str(folder), SERVED, COMMIT]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def close(self) -> set[str]:
        """Stop the hub; returns the names of the requested files."""
        self.process.terminate()
        assert self.process.stdout is not None
        paths = self.process.stdout.read().splitlines()
        self.process.wait(timeout=30)
        return {path.rpartition("/")[2] for path in paths if "/resolve/" in path}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model directory that, like some on the hub, has code and pickles beside the weights."""
    path = tmp_path / "served"
    path.mkdir()
    for name in (*WANTED, "modeling_evil.py", "pytorch_model.bin", "ae.safetensors", "README.md"):
        (path / name).write_text(f"what is in {name}")
    return path


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    running = Hub(folder)
    yield running
    if running.process.poll() is None:
        running.close()


def _resolve(cache: Path, *models: str, endpoint: str = "http://127.0.0.1:9", **settings: str) -> list[dict[str, str]]:
    """Resolve each model in a new process; by default no hub is listening."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    own = {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *models],
        env={**kept, **own, **settings}, capture_output=True, text=True, timeout=120, cwd=cache.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    resolved: list[dict[str, str]] = json.loads(done.stdout)
    return resolved


def test_a_hub_id_is_downloaded_without_code_and_pickles(hub: Hub, tmp_path: Path) -> None:
    """Only safetensors, JSON and text, not BAGEL's autoencoder; path and name contain the current commit of `main`."""
    [model] = _resolve(tmp_path / "cache", SERVED, endpoint=hub.url)
    assert model["path"].endswith(CACHED)
    assert model["name"] == f"{SERVED}@{COMMIT[:12]}"
    assert {file.name for file in Path(model["path"]).iterdir()} == WANTED
    assert hub.close() == WANTED


def test_short_names_and_revisions(hub: Hub, tmp_path: Path) -> None:
    """A short name from the list, a tag, and a commit."""
    asked = ("1.1-Qwen3-VL-8B", "SenseNova-SI-1.1-qwen3-vl-8b@v1", f"{SERVED}@{COMMIT}")
    for model in _resolve(tmp_path / "cache", *asked, endpoint=hub.url):
        assert model["path"].endswith(CACHED)


def test_a_cached_model_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    """Whether the hub is unreachable or HF_HUB_OFFLINE is set."""
    first = _resolve(tmp_path / "cache", SERVED, endpoint=hub.url)
    hub.close()
    assert _resolve(tmp_path / "cache", SERVED) == first
    assert _resolve(tmp_path / "cache", SERVED, HF_HUB_OFFLINE="1") == first


def test_a_recorded_short_commit_is_found_again_without_a_network(hub: Hub, tmp_path: Path) -> None:
    """As `model_name` shortens it."""
    [first] = _resolve(tmp_path / "cache", SERVED, endpoint=hub.url)
    hub.close()
    assert first["name"] == f"{SERVED}@{COMMIT[:12]}"
    assert _resolve(tmp_path / "cache", first["name"], HF_HUB_OFFLINE="1") == [first]
    assert _resolve(tmp_path / "cache", first["name"]) == [first]


def test_offline_the_hub_is_not_contacted(hub: Hub, tmp_path: Path) -> None:
    """The error says how to copy the model over."""
    [model] = _resolve(tmp_path / "cache", f"{SERVED}@v1", endpoint=hub.url, HF_HUB_OFFLINE="1")
    for part in ("HF_HUB_OFFLINE is set", f"hf download {SERVED} --revision v1", "--local-dir", "'*.safetensors'"):
        assert part in model["error"]
    assert hub.close() == set()


def test_without_a_network_the_error_says_so(tmp_path: Path) -> None:
    """It does not claim that the model does not exist."""
    [model] = _resolve(tmp_path / "cache", SERVED)
    assert "the hub is unreachable" in model["error"]
    assert "hf download" in model["error"]


def test_a_missing_model_or_revision_is_named(hub: Hub, tmp_path: Path) -> None:
    model, revision = _resolve(tmp_path / "cache", "someone/else", f"{SERVED}@v9", endpoint=hub.url)
    assert "neither a directory nor a model on the hub" in model["error"]
    assert "no revision 'v9'" in revision["error"]


def test_an_existing_directory_precedes_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("owner/name") == Path("owner/name")


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./owner/name", "~/owner", "nowhere", "three/parts/here"])
def test_other_names_are_taken_as_paths(model: str) -> None:
    """So that the error is about a missing directory."""
    assert resolve_model(model) == Path(model).expanduser()


def test_a_model_is_named_after_its_directory(tmp_path: Path) -> None:
    """Unless it is in the hub's cache."""
    assert model_name(tmp_path / "my-model") == "my-model"
