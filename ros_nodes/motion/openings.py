"""Whether a reported gripper opening can be relied on."""

from __future__ import annotations

import math

OPENING_AGE_S = 2.0
"""By the steady clock. An opening that is older says nothing of what the gripper holds."""


def current_opening(opening_m: float, age_s: float) -> float | None:
    """The opening if it is finite and not older than `OPENING_AGE_S`, else None."""
    return opening_m if math.isfinite(opening_m) and age_s <= OPENING_AGE_S else None
