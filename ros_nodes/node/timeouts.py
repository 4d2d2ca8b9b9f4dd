"""Time-outs in requests: a client may ask for a shorter or longer wait, and not for an endless one."""

from __future__ import annotations

import numpy as np


def timeout_refusal(asked_s: float, longest_s: float, why: str) -> str:
    """Why a request's time-out is refused, or "".

    Args:
        asked_s: from the message, a float32; 0 asks for the default.
        longest_s: the longest that is accepted.
        why: what sets that limit, for the message.
    """
    if 0 <= asked_s <= np.float32(longest_s):  # not so for NaN
        return ""
    return f"expected timeout_s from 0 (the default) to {longest_s:g} s ({why}), got: {asked_s:g}"
