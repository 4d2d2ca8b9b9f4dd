"""The command's entry: find the verb, run it, and turn our errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from si_embodied import __version__
from si_embodied.errors import SiEmbodiedError

VERBS = ("demo", "eval", "plan", "envs", "models", "data", "train", "study", "serve", "ros", "replay", "doctor")

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def make_parser() -> argparse.ArgumentParser:
    """The parser with every verb; each verb's `run` takes the parsed arguments and returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="si-embodied",
        description="Spatial vision-language models as a robot's high-level planner.",
        epilog="Begin with `si-embodied doctor`, then `si-embodied demo`.",
    )
    parser.add_argument("--version", action="version", version=f"si-embodied {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens; errors with their traceback")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        importlib.import_module(f"si_embodied.cli.{verb}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; by default the process's.

    Returns:
        0 when it worked, 1 when it found that something cannot work, 2 on an error, 130 on Ctrl-C.
    """
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    if args.verbose:
        logging.getLogger("si_embodied").setLevel(logging.INFO)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except SiEmbodiedError as error:
        if args.verbose:
            logging.getLogger("si_embodied").exception("%s", type(error).__name__)
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted", EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`, say) has left; nothing more can be said to it, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    return code


def _fail(message: str, code: int = EXIT_ERROR) -> int:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error:" if code == EXIT_ERROR else "stopped:", style="bold red", end=" ")
    console.print(" ".join(message.split()) if code == EXIT_ERROR else message, markup=False)
    return code


if __name__ == "__main__":
    sys.exit(main())
