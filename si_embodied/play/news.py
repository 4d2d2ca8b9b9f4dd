"""What a person at the play page has to know now, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.memory import outcome_words

if TYPE_CHECKING:
    from si_embodied.memory import Attempt
    from si_embodied.play.settings import Status


def news(status: Status, latest: Attempt | None, crash: str = "") -> str:
    """How the episode ended, or why the robot did not do its latest step; empty if there is nothing to tell.

    Args:
        status: of the episode.
        latest: the attempt that ended since the person last gave a plan; None if there is none.
        crash: why the episode could not go on, if it could not.
    """
    match status:
        case "succeeded":
            return "the world says that it succeeded"
        case "failed":
            return "the world says that it did not succeed"
        case "ended":
            return crash or "it has ended; say whether it did what you asked, and save it if you like"
    if latest is None or latest.outcome.succeeded or status == "stopped":
        return ""
    said = f"{latest.description}: {outcome_words(latest.outcome.code)}"
    return f"{said}: {latest.outcome.message}" if latest.outcome.message else said
