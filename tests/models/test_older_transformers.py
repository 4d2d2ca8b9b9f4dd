"""One directory is the same model for the installed transformers and for 4.57, which vLLM and others still use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.portable import convert_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CACHE = Path("~/.cache/si_embodied/transformers-4.57").expanduser()
PROGRAM = Path(__file__).parents[1] / "checkpoints" / "load_with_transformers.py"


@pytest.fixture(scope="session")
def older() -> Path:
    """The Python of an environment with transformers 4.57, beside which lies the running torch's torchvision.

    It is made once (about 60 MB), in the folder that TRANSFORMERS_457_ENVIRONMENT names or under `~/.cache`. torch and
    whatever else it lacks come from the running environment.
    """
    import torch

    place = Path(os.environ.get("TRANSFORMERS_457_ENVIRONMENT", CACHE))
    python, made = place / "bin" / "python", place / f"made_for_torch_{torch.__version__}"
    if made.is_file():
        return python
    venv.EnvBuilder(with_pip=True).create(place)
    running = sysconfig.get_paths()["purelib"]
    packages = place / "lib" / Path(running).parent.name / "site-packages"
    (packages / "running_environment.pth").write_text(running + "\n")
    minor = int(torch.__version__.split(".")[1])  # torchvision 0.(n + 15) is built for torch 2.n
    for command in (
        ["transformers==4.57.*", f"numpy=={np.__version__}"],
        ["--no-deps", "--target", str(place / "torchvision"), f"torchvision==0.{minor + 15}.*"],
    ):
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *command]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot install {command[-1]}, is the package index in reach? {done.stderr.strip()[-300:]}")
    made.touch()
    return python


def _load(python: Path | str, directory: Path, older: Path) -> dict[str, Any]:
    """What one version makes of a checkpoint."""
    environment = {**os.environ, "PYTHONPATH": str(older.parents[1] / "torchvision"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(python), str(PROGRAM), str(directory)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _assert_the_same_model(directory: Path, processor: str, older: Path) -> None:
    new, old = _load(sys.executable, directory, older), _load(older, directory, older)
    assert old["transformers"].startswith("4.57.")
    assert not new["transformers"].startswith("4.")
    for loaded in (new, old):
        assert (loaded["processor"], loaded["problems"]) == (processor, [])
    for key in ("input_ids", "written", "eos"):
        assert new[key] == old[key], key
    np.testing.assert_allclose(new["pixels"], old["pixels"], rtol=0, atol=1e-6)
    assert np.std(new["logits"]) > 0.01
    np.testing.assert_allclose(new["logits"], old["logits"], rtol=0, atol=1e-4)


def test_an_original_internvl(original_internvl: Path, tmp_path: Path, older: Path) -> None:
    """Its rope is dynamic, with a base of 1e6, which 4.57 took for 10,000 when only transformers 5's name was there."""
    out = convert_checkpoint(original_internvl, tmp_path / "converted")
    _assert_the_same_model(out, "InternVLProcessor", older)


@pytest.mark.parametrize(
    ("family", "processor"), [("qwen3_vl", "Qwen3VLProcessor"), ("qwen2_5_vl", "Qwen2_5_VLProcessor")]
)
def test_a_checkpoint_of_transformers_5(
    family: str, processor: str, checkpoints: dict[str, Path], tmp_path: Path, older: Path
) -> None:
    out = convert_checkpoint(checkpoints[family], tmp_path / "converted")
    _assert_the_same_model(out, processor, older)


def test_a_tied_internvl_of_transformers_5(checkpoints: dict[str, Path], tmp_path: Path, older: Path) -> None:
    """4.57 reads in the language model's settings whether the embeddings are tied."""
    from si_embodied.models.original import CHAT_TEMPLATE

    out = convert_checkpoint(checkpoints["internvl"], tmp_path / "converted")
    (out / "chat_template.jinja").write_text("{%- set SYSTEM = 'You see.' -%}\n" + CHAT_TEMPLATE)
    _assert_the_same_model(out, "InternVLProcessor", older)


def test_the_shipped_planner(tmp_path: Path, older: Path) -> None:
    """Its tokenizer's class has another name in 4.57."""
    out = convert_checkpoint(shipped_checkpoint(), tmp_path / "converted")
    _assert_the_same_model(out, "Qwen3VLProcessor", older)
