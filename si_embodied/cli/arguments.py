"""Arguments that several verbs take, and values that say what is wrong with them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendConfig


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


def minutes(text: str) -> float:
    """Minutes above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e5:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text!r}; for example 45")
    return value


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


def named_value(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is that, else as it stands."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}; for example room_count=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


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
    """Add `--model`, `--device`, `--weights` and `--config`."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR|ID",
        help="a checkpoint: a directory, or a name of `si-embodied models list`, or OWNER/NAME[@REVISION] on the hub "
        "(default: the package's small planner)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, cuda or cuda:1; for an exported model its execution providers in order, as tensorrt,cuda,cpu "
        "(default: CUDA if there is one)",
    )
    parser.add_argument(
        "--weights",
        choices=("full", "8bit", "4bit"),
        default="full",
        help="on CUDA, hold the linear layers in 8 or 4 bits: less memory (default: %(default)s)",
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="the planner's settings")


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add `--server` and how it is asked."""
    group = parser.add_argument_group("a model behind an OpenAI-compatible server (docs/serving.md)")
    group.add_argument("--server", metavar="URL", help="ask this server; --model is then the name that it serves")
    group.add_argument(
        "--family",
        default="qwen3_vl",
        metavar="NAME",
        help="internvl, qwen2_5_vl or qwen3_vl: decides how points are meant",
    )
    group.add_argument(
        "--answer-format", default="json_schema", metavar="NAME", help="json_schema, json_object, guided_json or none"
    )
    group.add_argument("--image-format", default="png", metavar="NAME", help="png or jpeg")


def backend_config(args: argparse.Namespace) -> BackendConfig:
    """The model that `add_model` and `add_server` let a user choose."""
    from si_embodied.backends.config import BackendConfig, ServerOptions

    model = "" if args.model is None else str(args.model)
    if "server" not in args or not args.server:
        return BackendConfig(model=model, device=args.device, weights=args.weights)
    options = ServerOptions(family=args.family, answer_format=args.answer_format, image_format=args.image_format)
    return BackendConfig("server", model=model, url=args.server, server=options)
