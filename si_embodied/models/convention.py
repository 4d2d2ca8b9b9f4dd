"""How a family writes points: in 0..1000 relative to their view, or in pixels of the view as it was resized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.models.points import (
    answer_to_pixels,
    answer_to_relative,
    pairs_to_pixels,
    pixel_note,
    schema_in_pixels,
    view_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.points import Size
    from si_embodied.types import Prompt


class PointConvention:
    """Converts prompts, schemas and answers between 0..1000 and the family's own points."""

    @property
    def in_pixels(self) -> bool:
        """Whether points are in pixels of the resized image, instead of 0..1000 relative to it."""
        return False

    def _notes(self, prompt: Prompt, sizes_px: Sequence[Size]) -> str:
        """Text appended to the system text: pixels override the prompt's 0..1000, and need the views' sizes."""
        sizes = view_sizes(prompt.schema, sizes_px) if self.in_pixels else {}
        return pixel_note(sizes) if sizes else ""

    def schema(self, prompt: Prompt, inputs: ModelInputs) -> Mapping[str, Any]:
        """The schema of the answer in this family's point convention: pixels are bounded by the size of their view."""
        if not self.in_pixels:
            return prompt.schema
        return schema_in_pixels(prompt.schema, view_sizes(prompt.schema, inputs.image_sizes_px))

    def answer(self, text: str, prompt: Prompt, inputs: ModelInputs) -> str:
        """Convert an answer's points to 0..1000 relative to their view."""
        if not self.in_pixels or prompt.schema.get("type") == "text":  # a letter or a number
            return text
        return answer_to_relative(text, view_sizes(prompt.schema, inputs.image_sizes_px))

    def own_answer(self, text: str, form: str, sizes_px: Sequence[Size]) -> str:
        """Convert points in 0..1000 to this family's convention; the inverse of `answer`, for training.

        Args:
            text: the answer.
            form: "plan" (JSON with each point next to its view) or "points" (only pairs of numbers).
            sizes_px: sizes of the views, from `ModelInputs.image_sizes_px`.
        """
        if not self.in_pixels:
            return text
        return answer_to_pixels(text, dict(enumerate(sizes_px))) if form == "plan" else pairs_to_pixels(text, sizes_px)
