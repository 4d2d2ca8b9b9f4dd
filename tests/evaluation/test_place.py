"""A file or a folder as the world of an evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.registry import make_env

pytest.importorskip("gymnasium")


def test_a_file_or_a_folder_is_a_place_and_names_its_results(tmp_path: Path) -> None:
    assert EvaluationConfig(f"{tmp_path}/House.glb", "oracle").world == "house"
    (tmp_path / "images").mkdir()
    completed = EvaluationConfig(f"{tmp_path}/images/", "oracle")  # as a shell completes it
    assert (completed.place, completed.world) == (tmp_path / "images", "images")


@pytest.mark.parametrize("env", ["si_embodied/Apartment-v0", "my_package.worlds:My-v0", "nowhere"])
def test_an_environments_id_is_no_place(env: str) -> None:
    assert EvaluationConfig(env, "oracle").place is None


def test_a_missing_file_is_named_and_a_missing_environment_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file or folder: .*gone.glb"):
        make_env(EvaluationConfig(f"{tmp_path}/gone.glb", "oracle"))
    with pytest.raises(UnknownNameError):
        make_env(EvaluationConfig("nowhere", "oracle"))
