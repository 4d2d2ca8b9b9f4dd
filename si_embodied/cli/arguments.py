"""Arguments that several verbs take, and values that say what is wrong with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def whole_number(minimum: int, example: int) -> Callable[[str], int]:
    """A parser of integers from `minimum` up, whose error names the value and an example of a right one."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {minimum}, got {text!r}; for example {example}"
            )
        return value

    return parse


def latency(text: str) -> float | str:
    """`measured`, or seconds of at least 0."""
    if text == "measured":
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 'measured' or seconds of at least 0, got {text!r}; for example 1.5")
    return value


def add_world(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--env`, `--task`, `--seed`, `--image-size` and `--action-mode`."""
    parser.add_argument("--env", metavar="ID", required=required, help="a world; `si-embodied envs` lists them")
    parser.add_argument("--task", metavar="T", help="a task of that world (default: the world's own)")
    parser.add_argument(
        "--seed", type=whole_number(0, 0), default=0, metavar="S", help="of the first episode (default: %(default)s)"
    )
    parser.add_argument("--image-size", type=whole_number(16, 224), metavar="PX", help="default: the world's own")
    parser.add_argument("--action-mode", metavar="MODE", help="default: the world's own")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--config`."""
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a checkpoint directory (default: the package's small planner)"
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="the planner's settings")
