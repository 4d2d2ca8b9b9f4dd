"""Inputs for a target, drawn by hypothesis: the kept ones, mutated up to three times, or any bytes."""

from __future__ import annotations

from random import Random

from harness import Target
from hypothesis import strategies as st
from mutation import mutated


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """A strategy for a target's inputs."""
    kept = [file.read_bytes() for file in target.corpus()] or [b""]

    def mutant(number: int, seed: int, times: int) -> bytes:
        data, random = kept[number], Random(seed)
        for _ in range(times):
            data = mutated(data, target.form, random)
        return data

    mutants = st.builds(mutant, st.integers(0, len(kept) - 1), st.integers(0, 1 << 64), st.integers(1, 3))
    return st.one_of(mutants, mutants, mutants, st.binary(max_size=100))
