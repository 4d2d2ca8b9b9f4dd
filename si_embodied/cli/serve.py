"""`si-embodied serve`: plan for robots on the network with one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.cli.arguments import add_model, add_server, backend_config, whole_number

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="plan for robots on the network",
        description="A planning server: posed RGB-D observations in, decisions out, over websocket and HTTP. It "
        "listens on this machine alone unless --host says otherwise, and then needs the key in SI_EMBODIED_API_KEY or "
        "--api-key-file. Stops on Ctrl-C when what is under way is answered.",
    )
    add_model(parser)
    add_server(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument(
        "--port",
        type=whole_number(0, 8421),
        default=8421,
        metavar="P",
        help="0 takes a free one (default: %(default)s)",
    )
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the API key in its first line")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="serve wss and https")
    parser.add_argument("--private-key", type=Path, metavar="PEM", help="of the certificate")
    parser.add_argument(
        "--max-megabytes", type=whole_number(1, 16), default=16, metavar="N", help="of a message (default: %(default)s)"
    )
    parser.add_argument(
        "--max-rate", type=whole_number(1, 20), default=20, metavar="N", help="requests a second of one address"
    )
    parser.add_argument(
        "--parallel", type=whole_number(1, 4), default=4, metavar="N",
        help="plans at once with --server, which batches them; a model in this process plans one at a time",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from rich.console import Console

    from si_embodied.backends.opening import open_backend
    from si_embodied.config import load_planner_config
    from si_embodied.serving.app import Limits
    from si_embodied.serving.run import ServeOptions, serve
    from si_embodied.serving.service import PlanningService

    options = ServeOptions(
        host=args.host,
        port=args.port,
        api_key=_key(args.api_key_file),
        certificate=args.certificate,
        private_key=args.private_key,
        limits=Limits(most_bytes=args.max_megabytes << 20, per_s=args.max_rate, burst=2 * args.max_rate),
        threads=args.parallel if args.server else 1,
    )
    backend, config = open_backend(backend_config(args)), load_planner_config(args.config)
    console = Console(highlight=False, soft_wrap=True)

    def ready(address: str) -> None:
        console.print(f"{backend.info.model} plans for robots at {address} (Ctrl-C stops)", markup=False)

    serve(PlanningService(backend, config), options, ready=ready)
    console.print("stopped", markup=False)
    return 0


def _key(file: Path | None) -> str | None:
    """The API key, from a file or the environment; an argument would be seen by everybody who lists processes."""
    import os

    from si_embodied.errors import ConfigError
    from si_embodied.serving.access import API_KEY_VARIABLE

    if file is None:
        return os.environ.get(API_KEY_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise ConfigError(f"cannot read the API key from {str(file)!r}: {error.strerror}") from error
