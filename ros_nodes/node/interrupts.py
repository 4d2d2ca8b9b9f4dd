"""Graceful shutdown of a node."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions


def init_until_interrupted(arguments: Sequence[str] | None) -> Callable[[], bool]:
    """Initialise rclpy, and return a function that tells whether SIGINT or SIGTERM has arrived since.

    ROS's own handlers would shut down the context at once; the node could then no longer publish or wait.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)
    return lambda: interrupted
