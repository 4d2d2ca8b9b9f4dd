"""The tiny untrained checkpoint is a valid Qwen3-VL checkpoint."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, RecordError
from si_embodied.models.tiny import SPECIAL_TOKENS, make_tiny_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def _bytes(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_transformers_own_class_loads_it(checkpoints: dict[str, Path]) -> None:
    """All weights match, without our code."""
    from transformers import Qwen3VLForConditionalGeneration

    _, info = Qwen3VLForConditionalGeneration.from_pretrained(checkpoints["qwen3_vl"], output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_it_is_small(checkpoints: dict[str, Path]) -> None:
    """A few hundred kB to 2 MB."""
    assert 200_000 < sum(len(data) for data in _bytes(checkpoints["qwen3_vl"]).values()) < 2_000_000


def test_the_checkpoint_depends_only_on_the_seed(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The same seed gives the same bytes; another gives other weights and the same tokenizer."""
    again, other = make_tiny_checkpoint(tmp_path / "again"), make_tiny_checkpoint(tmp_path / "other", seed=1)
    first = _bytes(checkpoints["qwen3_vl"])
    assert _bytes(again) == first
    assert {name for name, data in _bytes(other).items() if data != first[name]} == {"model.safetensors"}


def test_special_tokens_have_their_own_ids(checkpoints: dict[str, Path]) -> None:
    """The configuration and the tokenizer agree on them."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints["qwen3_vl"])
    config = AutoConfig.from_pretrained(checkpoints["qwen3_vl"])
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert [tokenizer.encode(token) for token in SPECIAL_TOKENS] == [[number] for number in ids]
    assert config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize("text", ["find the red chair", "größe 汉字 🙂\n\t", '{"point":[512,730]}'])
def test_any_text_survives_the_tokenizer(text: str, checkpoints: dict[str, Path]) -> None:
    """A byte-level tokenizer has no unknown text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints["qwen3_vl"])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_directory_with_content_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written, and the message gives the fix."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"not an empty.*new directory"):
        make_tiny_checkpoint(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unwritable_path_is_rejected(tmp_path: Path) -> None:
    """A file, and a path below a file."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((ConfigError, RecordError), match="file"):
            make_tiny_checkpoint(path)


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    """safetensors has an error of its own for it."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(RecordError, match="free some space"):
            make_tiny_checkpoint(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()
    assert make_tiny_checkpoint(tmp_path / "out").is_dir()
