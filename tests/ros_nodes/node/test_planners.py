"""The planner that a node's settings ask for."""

from __future__ import annotations

from pathlib import Path

from si_embodied.config import PlannerConfig
from si_embodied.ros_nodes.node.planners import with_trained_prompts
from si_embodied.ros_nodes.node.settings import NodeSettings


def test_a_local_model_is_asked_with_the_prompts_that_its_checkpoint_names(tmp_path: Path) -> None:
    """A small model that was trained with one prompt understands no other."""
    (tmp_path / "planner.yaml").write_text("navigation_prompt: nav/mine\n")
    settings = with_trained_prompts(NodeSettings(model=str(tmp_path), planner=PlannerConfig(deadline_s=7.0)))
    assert settings.planner == PlannerConfig(navigation_prompt="nav/mine", deadline_s=7.0)
    assert with_trained_prompts(NodeSettings()).prompt_version == "nav/nano", "the checkpoint that is shipped"


def test_it_can_be_asked_with_others(tmp_path: Path) -> None:
    (tmp_path / "planner.yaml").write_text("navigation_prompt: nav/mine\n")
    settings = NodeSettings(model=str(tmp_path), trained_prompts=False)
    assert with_trained_prompts(settings) is settings


def test_a_checkpoint_without_a_word_on_prompts_leaves_them_as_they_are(tmp_path: Path) -> None:
    settings = NodeSettings(model=str(tmp_path), planner=PlannerConfig(navigation_prompt="nav/other"))
    assert with_trained_prompts(settings) == settings
