"""Errors about arguments give the name, the value and the accepted values."""

from __future__ import annotations

import pytest

from si_embodied.envs.arguments import check_names, check_number
from si_embodied.errors import ConfigError, UnknownNameError


def test_names_that_are_known_pass() -> None:
    check_names(("task", "swap", ("base", "swap")), ("render mode", None, (None, "rgb_array")))


def test_the_first_unknown_name_is_said_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown task 'swop'. Did you mean 'swap'"):
        check_names(("task", "swop", ("base", "swap")), ("render mode", "x", (None,)))


@pytest.mark.parametrize("value", [16, 4096, 224, None])
def test_numbers_in_their_range_pass(value: int | None) -> None:
    check_number("image_size", value, 16, 4096)


@pytest.mark.parametrize(
    ("value", "high", "words"),
    [
        (15, 4096, "expected image_size to be from 16 to 4096 pixels, got: 15"),
        (4097, 4096, "got: 4097"),
        (float("nan"), 4096, "got: nan"),
        (15, float("inf"), "expected image_size to be at least 16 pixels, got: 15"),
    ],
)
def test_a_number_out_of_range_is_said_with_its_range(value: float, high: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_number("image_size", value, 16, high, unit="pixels")
