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
from si_embodied.errors import ConfigError, SiEmbodiedError, UnknownNameError

if TYPE_CHECKING:
    from si_embodied.cli.parsing import Command

GROUPS: Mapping[str, Mapping[str, str]] = {
    "try it": {
        "doctor": "show what can run, and check a robot's computer",
        "demo": "run both worlds with every policy in minutes",
        "envs": "list worlds, tasks and policies",
        "play": "give a robot instructions on a page, and steer it",
        "plan": "plan once, from one observation",
    },
    "measure": {
        "eval": "evaluate a policy in a world",
        "suite": "run suites of evaluations, and compare two runs",
        "compare": "say whether two models make the same decisions",
        "benchmark": "score a model on public benchmarks, and measure its speed",
        "study": "measure what data, images and reasoning are worth",
        "validate": "measure everything on this machine, in one report",
    },
    "look at what happened": {
        "watch": "show a run on a page while it goes on",
        "report": "write a page about evaluation runs",
        "replay": "repeat the decisions of a robot's recording",
        "cite": "print BibTeX for this package and its models' paper",
    },
    "train": {
        "data": "make spatial questions, and export episodes as a data set",
        "train": "train a model",
    },
    "deploy": {
        "models": "list, convert and export model checkpoints",
        "serve": "plan for robots on the network",
        "ros": "start the ROS 2 nodes, and check a robot before it moves",
        "calibrate": "check a robot's camera with a printed board",
    },
}
"""The verbs by what a person wants to do, as `--help` lists them.

Each verb is a module here with a dataclass of the verb's name, or with `SUBCOMMANDS`: a dataclass for each, by name.
"""

VERBS: Mapping[str, str] = {verb: about for verbs in GROUPS.values() for verb, about in verbs.items()}


def parse(arguments: Sequence[str]) -> tuple[Command, bool]:
    """Parse a command line to the command to run, and whether to be verbose.

    Raises:
        SystemExit: after `--help` and `--version`, and for arguments that are wrong.
        UnknownNameError: there is no such verb.
        ConfigError: the verb is missing, or a settings dataclass rejects its values.
    """
    parser = argparse.ArgumentParser(
        prog="si-embodied",
        description=f"Spatial vision-language models as a robot's high-level planner.\n\n{_verbs_by_group()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Start with `si-embodied doctor`, then `si-embodied demo`.",
    )
    parser.add_argument("--version", action="version", version=f"si-embodied {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens; show errors with a traceback")
    about_verb = "one of these; `si-embodied VERB --help` shows its options"
    chosen, arguments = _choose(parser, dict.fromkeys(VERBS), arguments, about_verb)
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


def _verbs_by_group() -> str:
    """Lay out the verbs under the titles of their groups, which argparse cannot do with subparsers."""
    width = max(map(len, VERBS))
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {verb:{width}}  {about}" for verb, about in verbs.items())])
        for title, verbs in GROUPS.items()
    )


def _choose(
    parser: argparse.ArgumentParser,
    choices: Mapping[str, str | None],
    arguments: Sequence[str],
    about: str | None = None,
) -> tuple[Any, Sequence[str]]:
    """Parse up to the first argument that is not an option, and return the rest unparsed.

    Args:
        parser: gets the choices.
        choices: with what `--help` says of each, or None to leave it out.
        arguments: the command line.
        about: what `--help` says of the choice itself.

    Raises:
        UnknownNameError: the argument is none of the choices.
        ConfigError: there is no such argument.
    """
    subparsers = parser.add_subparsers(dest="choice", metavar="VERB", required=False, help=about)
    for name, words in choices.items():
        if words is None:
            subparsers.add_parser(name, add_help=False)
        else:
            subparsers.add_parser(name, add_help=False, help=words)
    end = next((i for i, each in enumerate(arguments, 1) if not each.startswith("-")), len(arguments))
    chosen = arguments[end - 1] if end else "-"
    if not chosen.startswith("-") and chosen not in choices:
        raise UnknownNameError(f"verb of `{parser.prog}`", chosen, choices)
    parsed = parser.parse_args(arguments[:end])
    if parsed.choice is None:
        start = f" {parser.epilog}" if parser.epilog else ""
        raise ConfigError(
            f"expected a verb after `{parser.prog}`: {', '.join(choices)}; `{parser.prog} --help` explains them.{start}"
        )
    return parsed, arguments[end:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        0 if it worked, 1 if it found that something cannot work, 2 on an error, 130 on Ctrl-C.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    verbose = False
    try:
        command, verbose = parse(sys.argv[1:] if arguments is None else arguments)
        if verbose:
            logging.getLogger("si_embodied").setLevel(logging.INFO)
        from si_embodied.cli.progress import open_display
        from si_embodied.plugins import load_plugins
        from si_embodied.progress import shown_with

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
