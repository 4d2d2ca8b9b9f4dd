"""The blank-image control."""

from __future__ import annotations

import numpy as np

from si_embodied.backends import BackendInfo, BlankImages, ScriptedBackend
from si_embodied.types import Prompt


def test_images_become_black_and_the_text_is_kept() -> None:
    """The model can count the images but sees nothing in them."""
    seen: list[Prompt] = []
    backend = BlankImages(ScriptedBackend(lambda prompt: seen.append(prompt) or "{}"))  # type: ignore[func-returns-value]
    image = np.full((4, 6, 3), 200, dtype=np.uint8)
    assert backend.generate(Prompt("v", "system", ("a", image, "b"), {"x": 1}), deadline_s=1.0).text == "{}"
    first, shown, last = seen[0].content
    assert (first, last, seen[0].system, seen[0].schema) == ("a", "b", "system", {"x": 1})
    assert isinstance(shown, np.ndarray)
    assert shown.shape == (4, 6, 3)
    assert shown.dtype == np.uint8
    assert not shown.any()
    assert image.all()


def test_the_control_names_itself() -> None:
    """A record of the control cannot be mistaken for the model's own."""
    assert BlankImages(ScriptedBackend([], name="m")).info == BackendInfo("m (blank images)", "none", "none")
