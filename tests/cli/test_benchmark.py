"""`si-embodied benchmark`."""

from __future__ import annotations

import pytest

from si_embodied.cli.main import main


def test_a_format_of_answers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Benchmarks are answered in words, so that the option would do nothing."""
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", "spatial", "--server", "http://127.0.0.1:1", "--model", "x", "--answer-format", "none"])
    assert caught.value.code == 2
    assert "--answer-format" in capsys.readouterr().err
