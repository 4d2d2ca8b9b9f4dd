"""Checks of the computer that a model or a robot's nodes run on: `si-embodied doctor --deploy`.

Each module reads one subject (files under /proc and /sys, a program's output) with functions of text, and judges it.
Nothing here changes a setting, and what the system does not tell is unknown, never good.
"""
