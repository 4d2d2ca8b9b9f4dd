"""Full fine-tuning of each family on a handful of records: packing, what changes, resuming, and several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("peft")
pytest.importorskip("accelerate")

import torch
from safetensors.torch import load_file

from si_embodied.cli.main import main
from si_embodied.errors import ConfigError
from si_embodied.models.loading import load_checkpoint
from si_embodied.training import full
from si_embodied.training.conversations import Collator, Examples, encode, read_records
from si_embodied.training.full import FullConfig, FullRun, tune_full
from si_embodied.training.packing import Order, Packer, blank_example, make_plan
from si_embodied.training.recipes import RECIPES

STEPS = 4


def config_for(family: str, **changes: Any) -> FullConfig:
    """The family's recipe with a learning rate that moves a tiny model, and two packs a step."""
    recipe = replace(RECIPES[family], learning_rate=0.003, warmup=0, batch=2, pack_tokens=120)
    return replace(FullConfig(recipe=recipe, steps=STEPS, save_every=2), **changes)


@pytest.fixture(scope="session")
def runs(data: Path, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, FullRun]:
    """A complete run for each family."""
    root = tmp_path_factory.mktemp("full")
    return {name: tune_full(path, [data], root / name, config_for(name)) for name, path in checkpoints.items()}


# --- packing --------------------------------------------------------------------------------------------------------


def test_packed_examples_do_not_see_each_other(checkpoints: dict[str, Path], data: Path, family_name: str) -> None:
    """Their logits are those of each example alone."""
    checkpoint = load_checkpoint(checkpoints[family_name], device="cpu")
    family, model = checkpoint.family, checkpoint.model
    examples = [encode(record, family) for record in read_records([data / "questions.jsonl"])]
    alone = Collator(family.end_token, "qwen" in family_name)
    with torch.inference_mode():
        apart = [model(**alone([example])).logits[0] for example in examples]
        packer = Packer(blank_example(family), getattr(model.model, "get_rope_index", None))
        packed = model(**packer([examples]), use_cache=False).logits[0]
    torch.testing.assert_close(packed, torch.cat(apart), atol=2e-4, rtol=1e-3)


def test_a_pack_without_images_shows_a_blank_one_without_a_loss(
    checkpoints: dict[str, Path], data: Path, family_name: str
) -> None:
    checkpoint = load_checkpoint(checkpoints[family_name], device="cpu")
    family = checkpoint.family
    (text,) = (one for one in read_records([data / "questions.jsonl"]) if not one.images)
    example = encode(text, family)
    row = Packer(blank_example(family), getattr(checkpoint.model.model, "get_rope_index", None))([[example]])
    length = len(example.input_ids)
    assert row["input_ids"].shape[1] > length
    assert row["labels"][0, :length].tolist() == example.labels.tolist()
    assert set(row["labels"][0, length:].tolist()) == {-100}
    assert "pixel_values" in row


def test_packs_are_filled_up_to_the_limit_and_hold_each_example_once(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    family = load_checkpoint(checkpoints["qwen3_vl"], device="cpu").family
    examples = Examples(read_records([data]), family, 10000)
    lengths = [len(examples[index].input_ids) for index in range(len(examples))]
    limit = max(lengths) + min(lengths)
    plan = make_plan(examples, limit, 0, tmp_path / "lengths.json", 0)
    assert sorted(index for pack in plan for index in pack) == list(range(len(examples)))
    totals = [sum(lengths[index] for index in pack) for pack in plan]
    assert max(totals) <= limit
    for pack, (following, total) in zip(plan[1:], zip(plan[1:], totals, strict=False), strict=True):
        assert total + lengths[following[0]] > limit, pack
    assert make_plan(examples, limit, 0, tmp_path / "lengths.json", 0) == plan
    assert make_plan(examples, 0, 0, tmp_path / "none.json", 0) == [[index] for index in range(len(examples))]


def test_an_epoch_has_whole_steps_and_a_new_order_each_time() -> None:
    order = Order(7, 3, seed=0)
    first = list(order)
    assert len(first) == len(order) == 6
    assert len(set(first)) == 6
    order.set_epoch(1)
    assert list(order) != first
    with pytest.raises(ConfigError, match="lower --batch"):
        Order(2, 3, seed=0)


# --- what a run does ------------------------------------------------------------------------------------------------


def test_the_language_model_changes_and_the_vision_tower_does_not(
    runs: dict[str, FullRun], checkpoints: dict[str, Path], family_name: str
) -> None:
    base = load_file(checkpoints[family_name] / "model.safetensors")
    tuned = load_file(runs[family_name].checkpoint / "model.safetensors")
    assert set(base) == set(tuned)
    assert {name: value.dtype for name, value in base.items()} == {name: value.dtype for name, value in tuned.items()}
    changed = {name for name in base if not torch.equal(base[name], tuned[name])}
    projector = {name for name in base if any(part in name for part in ("merger", "projector", "connector"))}
    vision = {name for name in base if "vis" in name or "vit" in name} - projector
    language = set(base) - projector - vision
    assert len(vision) > 4
    assert not changed & vision
    assert {name for name in language if name.endswith("_proj.weight")} <= changed
    assert {name for name in language if "embed_tokens" in name or "lm_head" in name} <= changed
    trained = RECIPES[family_name].projector
    weights = {name for name in projector if base[name].ndim == 2}
    assert weights <= changed if trained else not changed & projector


def test_a_few_steps_lower_the_loss_and_the_checkpoint_opens(
    runs: dict[str, FullRun], checkpoints: dict[str, Path], data: Path, family_name: str
) -> None:
    means = []
    for directory in (checkpoints[family_name], runs[family_name].checkpoint):
        checkpoint = load_checkpoint(directory, device="cpu")
        collate = Collator(checkpoint.family.end_token, "qwen" in family_name)
        with torch.inference_mode():
            losses = [
                float(checkpoint.model(**collate([encode(record, checkpoint.family)])).loss)
                for record in read_records([data / "questions.jsonl"])
            ]
        means.append(np.mean(losses))
    assert means[1] < 0.9 * means[0]
    assert len(runs[family_name].losses) == STEPS


def test_the_card_has_the_recipe(runs: dict[str, FullRun]) -> None:
    card = (runs["bagel"].checkpoint / "README.md").read_text()
    assert "2 packs of at most 120 tokens" in card
    assert '"epsilon": 1e-15' in card


class Stop(Exception):
    """Interrupts a run."""


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    runs: dict[str, FullRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path, family_name: str
) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 3:
            raise Stop

    model, config = checkpoints[family_name], config_for(family_name)
    with pytest.raises(Stop):
        tune_full(model, [data], tmp_path / "run", config, report=stop)
    steps: list[int] = []
    run = tune_full(model, [data], tmp_path / "run", config, resume=True, report=lambda step, *_: steps.append(step))
    assert steps == [3, 4], "checkpoints are every 2 steps"
    assert run.losses == runs[family_name].losses
    again = tune_full(model, [data], tmp_path / "run", config, resume=True)  # finished: takes no more steps
    one, other = (load_file(each.checkpoint / "model.safetensors") for each in (again, runs[family_name]))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_the_command_tunes_with_the_familys_recipe(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["--model", checkpoints["qwen3_vl"], "--data", data, "--out", out, "--steps", "1", "--batch", "2"]
    assert main(["train", "full", *map(str, arguments)]) == 0
    assert "give it to --model" in capsys.readouterr().out
    recipe = json.loads((out / "run.json").read_text())["config"]["recipe"]
    assert (recipe["learning_rate"], recipe["batch"], recipe["pack_tokens"]) == (1e-5, 2, 0)


def test_the_packs_of_a_step_are_divided_evenly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="multiple of the 3 processes, got: 2"):
        full._Full(config_for("bagel"), tmp_path).arguments  # noqa: B018  # a property


# --- processes ------------------------------------------------------------------------------------------------------

WORKER = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from si_embodied.training.full import FullConfig, leave_group, tune_full
from si_embodied.training.recipes import RECIPES
for job in json.loads(sys.argv[1]):
    recipe = replace(RECIPES[job["family"]], learning_rate=0.003, warmup=0, batch=2, pack_tokens=120)
    config = FullConfig(recipe=recipe, steps=job["steps"], save_every=2)
    out = Path(job["out"])
    out.with_name(f"{os.environ.get('RANK', 0)}.pid").write_text(str(os.getpid()))
    run = tune_full(Path(job["model"]), [Path(job["data"])], out, config, resume=(out / "run.json").is_file())
    if run.writes:
        (out / "losses.json").write_text(json.dumps(run.losses))
leave_group()
"""


SHARDED = """
import json, sys
from pathlib import Path
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from torch.nn import functional
from si_embodied.models.loading import load_checkpoint
from si_embodied.training.conversations import encode, read_records
from si_embodied.training.full import FullConfig, _Full, leave_group
from si_embodied.training.packing import Packer, blank_example
from si_embodied.training.recipes import RECIPES

def train(model, batches, total, scale):
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=3e-3)
    losses = []
    for _ in range(3):
        losses.append(0.0)
        for batch in batches:
            logits = model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits[0, :-1]
            loss = functional.cross_entropy(logits, batch["labels"][0, 1:], reduction="sum") * scale / total
            loss.backward()
            losses[-1] += float(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses

distributed.init_process_group("gloo")
found = {}
for name, path in json.loads(sys.argv[1]).items():
    models = []
    for _ in range(2):
        checkpoint = load_checkpoint(path, device="cpu")
        models.append(_Full(FullConfig(recipe=RECIPES[name]), Path()).prepare(checkpoint).train())
    examples = [encode(record, checkpoint.family) for record in read_records([Path(sys.argv[2])])]
    packer = Packer(blank_example(checkpoint.family), getattr(models[0].model, "get_rope_index", None))
    batches = [packer([[examples[0], examples[2]]]), packer([[examples[4]]])]  # three images; text alone
    total = sum(int((batch["labels"] >= 0).sum()) for batch in batches)
    whole = train(models[0], batches, total, 1)
    (layer,) = models[1]._no_split_modules
    for module in list(models[1].modules()):
        if type(module).__name__ == layer:
            fully_shard(module)
    fully_shard(models[1])
    sharded = torch.tensor(train(models[1], [batches[distributed.get_rank()]], total, 2))
    distributed.all_reduce(sharded)
    found[name] = [whole, (sharded / 2).tolist()]
if distributed.get_rank() == 0:
    Path(sys.argv[3]).write_text(json.dumps(found))
leave_group()
"""


def start(jobs: list[dict[str, Any]], processes: int) -> subprocess.Popen[bytes]:
    """Tune in processes of their own."""
    return start_script([WORKER, json.dumps(jobs)], processes)


def start_script(arguments: list[str], processes: int) -> subprocess.Popen[bytes]:
    """Run a script in processes of their own."""
    command = [sys.executable, "-c", *arguments]
    if processes > 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*launcher, "--no-python", *command]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(
    runs: dict[str, FullRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    jobs = [
        {"family": name, "model": str(path), "data": str(data), "out": str(tmp_path / name), "steps": STEPS}
        for name, path in checkpoints.items()
    ]
    assert start(jobs, 2).wait(timeout=280) == 0
    for name in checkpoints:
        losses = json.loads((tmp_path / name / "losses.json").read_text())
        assert losses == pytest.approx(runs[name].losses, abs=1e-4)
        weights = load_file(tmp_path / name / "checkpoint" / "model.safetensors")
        for key, value in load_file(runs[name].checkpoint / "model.safetensors").items():
            torch.testing.assert_close(weights[key], value, atol=1e-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "processes"), [*((family, 1) for family in RECIPES), ("qwen3_vl", 2)])
def test_a_killed_run_resumes_to_the_same_losses(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path, family: str, processes: int
) -> None:
    out = tmp_path / "run"
    job = {"family": family, "model": str(checkpoints[family]), "data": str(data), "out": str(out), "steps": 12}
    process = start([job], processes)
    while not (out / "checkpoints" / "checkpoint-4" / "trainer_state.json").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    for file in tmp_path.glob("*.pid") if processes > 1 else ():  # torchrun's children survive it
        os.kill(int(file.read_text()), signal.SIGKILL)
    process.wait(timeout=60)
    logged = len((out / "log.jsonl").read_text().splitlines())
    assert start([job], processes).wait(timeout=200) == 0
    config = replace(config_for(family), steps=12)
    whole = tune_full(checkpoints[family], [data], tmp_path / "whole", config)
    assert logged < 12
    assert json.loads((out / "losses.json").read_text()) == pytest.approx(whole.losses, abs=1e-4)


@pytest.mark.slow
def test_weights_sharded_over_two_processes_have_the_losses_of_one(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    """torch's FSDP2, on layers as accelerate shards them on GPUs; one process has three images, the other only text."""
    file = tmp_path / "losses.json"
    paths = json.dumps({name: str(path) for name, path in checkpoints.items()})
    assert start_script([SHARDED, paths, str(data), str(file)], 2).wait(timeout=280) == 0
    found = json.loads(file.read_text())
    assert set(found) == set(checkpoints)
    for whole, sharded in found.values():
        assert sharded == pytest.approx(whole, abs=1e-4)
