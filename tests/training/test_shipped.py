"""The small planner that comes with the package is the commands' default and keeps its promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.backends.local import LocalBackend
from si_embodied.config import PlannerConfig, Prompts, checkpoint_prompts
from si_embodied.embodiment import MobileBase
from si_embodied.models.checkpoints import inspect_checkpoint, shipped_checkpoint
from si_embodied.planner import Planner


@pytest.fixture
def shipped() -> Path:
    return shipped_checkpoint()


def test_it_is_at_most_12_mb_and_has_its_card(shipped: Path) -> None:
    assert inspect_checkpoint(shipped).model_type == "qwen3_vl"
    assert sum(file.stat().st_size for file in shipped.iterdir()) <= 12e6
    assert "## Limits" in (shipped / "README.md").read_text()


def test_its_own_prompts_are_used_wherever_it_is_opened(shipped: Path, base: MobileBase) -> None:
    pytest.importorskip("torch")
    assert checkpoint_prompts(shipped).manipulation == "manip/nano2"
    backend = LocalBackend(shipped)
    assert Planner(backend, base).config.prompts.navigation == "nav/nano2"
    assert Planner(backend, base, PlannerConfig(deadline_s=3.0)).config.prompts.navigation == "nav/nano2"
    chosen = PlannerConfig(Prompts(navigation="nav/v1"))
    assert Planner(backend, base, chosen).config.prompts.navigation == "nav/v1", "unless others are chosen"


def test_transformers_loads_it_without_missing_or_unexpected_keys(shipped: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model, info = transformers.Qwen3VLForConditionalGeneration.from_pretrained(shipped, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert 2e6 < model.num_parameters() < 4e6


def test_the_training_goes_on_with_its_vocabulary(shipped: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from si_embodied.training.vocabulary import make_tokenizer

    tokenizer = transformers.AutoTokenizer.from_pretrained(shipped)
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab(), "else --start and the studies could not load it"


def test_it_picks_up_the_named_object(shipped: Path) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("torch")
    from si_embodied.data.views import TabletopStage
    from si_embodied.geometry import Pose
    from si_embodied.grounding import pixel_of
    from si_embodied.memory import Memory
    from si_embodied.plan import parse_plan
    from si_embodied.prompts import load_prompt
    from si_embodied.types import Observation, Task

    backend, hits = LocalBackend(shipped, device="cpu"), []
    for seed in range(82_000, 82_006):
        with TabletopStage(seed) as stage:
            view = stage.view()
        container = next(o for o in view.objects if o.category in ("bowl", "bin"))
        thing = view.objects[0]
        task = Task(f"put the {thing.name} in the {container.name}", "manipulation")
        observation = Observation(0.0, (view.frame,), Pose.identity())
        prompt = load_prompt("manip/nano2").render(task, observation, Memory())
        plan = parse_plan(backend.generate(prompt, deadline_s=60).text, "manipulation", 2)
        (pick,) = plan.subgoals
        u, v = pixel_of(pick.point, 224, 224)  # type: ignore[union-attr]
        hits.append(view.instances[round(v), round(u)] == thing.id)
    assert sum(hits) >= 5
