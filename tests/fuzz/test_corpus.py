"""Every kept input, and a few hundred new ones for each target of tests/fuzz/; `make fuzz` runs a million."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fuzz import RUNS
from hypothesis import given, settings
from inputs import inputs_of
from targets import TARGETS

EXAMPLES = 200


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Refusals are logged, thousands of them here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_accepted_or_refused_as_documented(name: str) -> None:
    target = TARGETS[name]
    if target.missing:
        pytest.skip(f"{target.missing} is not installed")
    files = target.corpus()
    assert files, f"write seeds for {name} with tests/fuzz/seeds.py"
    for file in files:
        try:
            target.check(file.read_bytes())
        except Exception as error:
            raise AssertionError(f"{file.relative_to(RUNS.parents[1])}: {error!r}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_new_inputs_are_accepted_or_refused_as_documented(name: str) -> None:
    target = TARGETS[name]
    if target.missing:
        pytest.skip(f"{target.missing} is not installed")

    @given(data=inputs_of(target))
    @settings(max_examples=max(20, int(EXAMPLES * target.weight)), derandomize=True, database=None)
    def run(data: bytes) -> None:
        target.check(data)

    run()
