"""Ending a node in its own time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions


def init_until_interrupted(arguments: Sequence[str] | None) -> Callable[[], bool]:
    """Initialise rclpy, and say whether SIGINT or SIGTERM has come since.

    ROS's own handlers would close the context at once, and then nothing can be published or waited for any more.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    return lambda: asked
