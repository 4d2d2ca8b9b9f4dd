"""The command `si-embodied`: find the verb, run it, and turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from si_embodied import __version__
from si_embodied.errors import SiEmbodiedError

if TYPE_CHECKING:
    from si_embodied.cli.parsing import Command

VERBS: Mapping[str, str] = {
    "demo": "run both worlds with every policy in minutes",
    "eval": "evaluate a policy in a world",
    "suite": "run suites of evaluations, and compare two runs",
    "plan": "plan once, from one observation",
    "envs": "list worlds, tasks and policies",
    "models": "list, convert and export model checkpoints",
    "data": "make spatial questions and demonstrations",
    "train": "train a model",
    "benchmark": "score a model on public benchmarks, and measure its speed",
    "study": "measure what data, images and reasoning are worth",
    "serve": "plan for robots on the network",
    "ros": "start the ROS 2 nodes, and check a robot before it moves",
    "replay": "repeat the decisions of a robot's recording",
    "compare": "say whether two models make the same decisions",
    "validate": "measure everything on this machine, in one report",
    "calibrate": "check a robot's camera with a printed board",
    "doctor": "show what can run, and check a robot's computer",
}
"""Each is a module here with a dataclass of the verb's name, or with `SUBCOMMANDS`: a dataclass for each, by name."""


def parse(arguments: Sequence[str]) -> tuple[Command, bool]:
    """Parse a command line to the command to run, and whether to be verbose.

    Raises:
        SystemExit: after `--help` and `--version`, and for arguments that are wrong.
        ConfigError: if a settings dataclass rejects its values.
    """
    parser = argparse.ArgumentParser(
        prog="si-embodied",
        description="Spatial vision-language models as a robot's high-level planner.",
        epilog="Start with `si-embodied doctor`, then `si-embodied demo`.",
    )
    parser.add_argument("--version", action="version", version=f"si-embodied {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens; show errors with a traceback")
    chosen, arguments = _choose(parser, VERBS, arguments)
    program, module = f"si-embodied {chosen.choice}", importlib.import_module(f"si_embodied.cli.{chosen.choice}")
    if subcommands := getattr(module, "SUBCOMMANDS", None):
        subparser = argparse.ArgumentParser(prog=program, description=str(module.__doc__).partition(": ")[2])
        about = {name: str(each.__doc__).partition("\n\n")[0] for name, each in subcommands.items()}
        sub, arguments = _choose(subparser, about, arguments)
        command, program = subcommands[sub.choice], f"{program} {sub.choice}"
    else:
        command = getattr(module, chosen.choice.capitalize())
    from si_embodied.cli.parsing import parse as parse_command

    return parse_command(command, program, arguments), chosen.verbose


def _choose(
    parser: argparse.ArgumentParser, choices: Mapping[str, str], arguments: Sequence[str]
) -> tuple[Any, Sequence[str]]:
    """Parse up to the first argument that is not an option, and return the rest unparsed."""
    subparsers = parser.add_subparsers(dest="choice", metavar="VERB", required=True)
    for name, about in choices.items():
        subparsers.add_parser(name, help=about, add_help=False)
    end = next((i for i, each in enumerate(arguments, 1) if not each.startswith("-")), len(arguments))
    return parser.parse_args(arguments[:end]), arguments[end:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        0 if it worked, 1 if it found that something cannot work, 2 on an error, 130 on Ctrl-C.
    """
    from si_embodied.cli.progress import open_display
    from si_embodied.plugins import load_plugins
    from si_embodied.progress import shown_with

    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    verbose = False
    try:
        command, verbose = parse(sys.argv[1:] if arguments is None else arguments)
        if verbose:
            logging.getLogger("si_embodied").setLevel(logging.INFO)
        load_plugins()
        with shown_with(open_display):
            code = command.run()
        sys.stdout.flush()
    except SiEmbodiedError as error:
        if verbose:
            logging.getLogger("si_embodied").exception("%s", type(error).__name__)
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output, `head` for example, has ended. At exit, Python would try to write to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
