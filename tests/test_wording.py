from __future__ import annotations

from collections.abc import Sequence

import pytest

from si_embodied.wording import counted, seeds_in_words


@pytest.mark.parametrize(("number", "words"), [(0, "0 episodes"), (1, "1 episode"), (1200, "1,200 episodes")])
def test_one_thing_has_no_s(number: int, words: str) -> None:
    assert counted(number, "episode") == words


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (range(1), "0"),
        (range(5, 8), "5 to 7"),
        ([0, 1, 2, 5, 7, 8], "0 to 2, 5, 7 to 8"),
        ([], "none"),
        (range(0), "none"),
    ],
)
def test_seeds_that_follow_each_other_are_told_by_their_ends(seeds: Sequence[int], words: str) -> None:
    assert seeds_in_words(seeds) == words
