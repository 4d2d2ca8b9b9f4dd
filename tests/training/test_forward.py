"""The training forward pass gives the same numbers as transformers and the planner's backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from si_embodied.config import Prompts
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.memory import Memory
from si_embodied.prompts import load_prompt
from si_embodied.training.architecture import MICRO, make_model
from si_embodied.training.batches import answered, pack
from si_embodied.training.decision_batches import decision_batch, image_tokens
from si_embodied.training.decisions import Taught
from si_embodied.training.export import Story, export
from si_embodied.training.forms import form_for
from si_embodied.training.forward import CELLS, encode_images, logits_of, read
from si_embodied.training.nano_settings import IMAGE_PROMPTS, NANO_PROMPTS
from si_embodied.training.pictures import Picture, fitted
from si_embodied.training.questions import Question, plan_json, subgoal
from si_embodied.types import CameraFrame, Observation, Prompt, Task

PLAN = plan_json([subgoal("goto", "red chair", [512, 7])], done=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = make_model(MICRO, 3).eval()
    story = Story({"tabletop": 1}, "0", 3, 0, 0.0)
    return model, export(model, tmp_path_factory.mktemp("nano") / "nano", story)


def observation(image: np.ndarray) -> Observation:
    side = image.shape[0]
    camera = Intrinsics(side, side, 100.0, 100.0, side / 2, side / 2)
    frame = CameraFrame("head", 0.0, image, None, camera, Pose.identity())
    return Observation(0.0, (frame,), Pose.identity())


@pytest.mark.parametrize("prompts", [IMAGE_PROMPTS, NANO_PROMPTS], ids=["one view", "many views"])
def test_a_packed_batch_gives_the_logits_of_the_loaded_checkpoint(exported: tuple[Any, Path], prompts: Prompts) -> None:
    from si_embodied.models.loading import load_checkpoint

    model, directory = exported
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    loaded = load_checkpoint(directory, device="cpu")
    prompt = load_prompt(prompts.navigation).render(
        Task("find the red chair", "navigation"), observation(image), Memory()
    )
    inputs = loaded.family.encode(prompt)
    form = form_for(prompts, 1)
    asked = Question("find the red chair", PLAN, "goto")
    said = [int(i) for i in loaded.family._tokenizer.encode(asked.answer_in(form.view)).ids]
    ids = torch.tensor([[*inputs.input_ids.tolist(), *said]])
    kinds = (ids == loaded.model.config.image_token_id).int()
    with torch.inference_mode():
        expected = loaded.model(
            input_ids=ids,
            pixel_values=torch.from_numpy(np.asarray(inputs.pixels["pixel_values"])),
            image_grid_thw=torch.from_numpy(np.asarray(inputs.pixels["image_grid_thw"])),
            mm_token_type_ids=kinds,
        ).logits[0, -len(said) :]
        model = model.half().float()  # as it was written
        other = Question("go to the sofa", plan_json([{"skill": "explore"}], done=False), "explore")
        cells = np.arange(CELLS)[None]
        packed = pack([form], [[answered(other, form), answered(asked, form)]], cells)
        tokens = encode_images(model, torch.from_numpy(fitted(image))[None], torch.from_numpy(cells))
        found = logits_of(model, read(model, packed, tokens)[0, -len(said) :])
    assert packed.tokens[0, -len(said) :].tolist() == said
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def remembering() -> Taught:
    """A decision with a picture in the middle of the text and three sizes of images."""
    rng = np.random.default_rng(4)
    small, wide, full = (
        rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((112, 112), (90, 160), (224, 224))
    )
    pictures = [Picture.of(fitted(one)) for one in (small, wide, full)]
    assert [(one.height, one.width) for one in pictures] == [(120, 120), (100, 160), (220, 220)]
    content = (
        "Goal picture: ",
        pictures[1],
        "\n",
        pictures[0],
        pictures[2],
        "So far:\n1. goto red chair: done",
        "\nGo!",
    )
    return Taught("You plan for a mobile robot.", content, PLAN.replace('"view":0', '"view":2'))


@pytest.mark.parametrize("patch_px", [10, 20])
def test_prompts_with_several_images_give_the_logits_of_transformers(
    patch_px: int, remembering: Taught, tmp_path: Path
) -> None:
    from si_embodied.models.loading import load_checkpoint

    model = make_model(replace(MICRO, patch_px=patch_px), 5).eval()
    loaded = load_checkpoint(export(model, tmp_path / "nano", Story({}, "0", 5, 0, 0.0)), device="cpu")
    images = [part.pixels() if isinstance(part, Picture) else part for part in remembering.content]
    inputs = loaded.family.encode(Prompt("mine", remembering.system, tuple(images), {}))
    said = loaded.family._tokenizer.encode(remembering.answer).ids
    ids = torch.tensor([[*inputs.input_ids.tolist(), *said]])
    other = Taught("You plan for a robot arm at a table.", (remembering.content[4], "Task: stack"), PLAN)
    batch = decision_batch([other, remembering])
    with torch.inference_mode():
        expected = loaded.model(
            input_ids=ids,
            pixel_values=torch.from_numpy(np.asarray(inputs.pixels["pixel_values"])),
            image_grid_thw=torch.from_numpy(np.asarray(inputs.pixels["image_grid_thw"])),
            mm_token_type_ids=(ids == loaded.model.config.image_token_id).int(),
        ).logits[0]
        model = model.half().float()  # as it was written
        hidden = read(model, batch.packed, image_tokens(model, batch))[1, : ids.shape[1]]
        found = logits_of(model, hidden)
    texts = ~batch.packed.is_image[1, : ids.shape[1]]
    assert batch.packed.tokens[1, : ids.shape[1]][texts].tolist() == ids[0][texts].tolist()
    assert batch.packed.targets[1, ids.shape[1] - len(said) - 1 : ids.shape[1] - 1].tolist() == list(said)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_leaving_out_cells_does_not_move_the_others(exported: tuple[Any, Path]) -> None:
    # With the only layer's attention switched off, a cell's token depends on that cell alone.
    model, _ = exported
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 220, 220, 3), dtype=np.uint8))
    kept = torch.tensor([[3, 17, 60], [0, 60, 120]])
    with torch.inference_mode():
        saved = model.model.visual.blocks[0].attn.proj.weight.clone()
        model.model.visual.blocks[0].attn.proj.weight.zero_()
        whole = encode_images(model, images, torch.arange(CELLS).expand(2, -1))
        some = encode_images(model, images, kept)
        model.model.visual.blocks[0].attn.proj.weight.copy_(saved)
    torch.testing.assert_close(some, whole[torch.arange(2)[:, None], kept], rtol=1e-4, atol=1e-5)
