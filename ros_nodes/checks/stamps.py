"""Rate, jitter and age of a camera's images, from their stamps and arrivals. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from si_embodied.findings import Finding

LEAST_IMAGES = 10
LEAST_RATE_HZ = 2.0
"""The planner looks at one image a second for its map, and needs one newer than `max_observation_age_s`."""
MOST_JITTER_RATIO = 0.25
MOST_GAP = 3.0
"""In periods: two images in a row were lost."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the images of one topic say about its camera and the way from it."""

    count: int
    rate_hz: float  # of the exposures; NaN for fewer than two
    jitter_s: float  # standard deviation of the time between exposures
    longest_gap: float  # in periods
    age_s: float  # median on arrival, NaN if there are none
    oldest_s: float


def stamps_of(stamps_s: Sequence[float], arrivals_s: Sequence[float]) -> Stamps:
    """Summarise one topic.

    Args:
        stamps_s: of the exposures, in the order of arrival.
        arrivals_s: by the same clock.
    """
    ages = np.subtract(arrivals_s, stamps_s)
    gaps = np.diff(np.sort(stamps_s))
    if not gaps.size or not (period_s := float(np.median(gaps))) > 0:
        age_s, oldest_s = (float(np.median(ages)), float(ages.max())) if ages.size else (math.nan, math.nan)
        return Stamps(len(stamps_s), math.nan, math.nan, math.nan, age_s, oldest_s)
    return Stamps(
        count=len(stamps_s),
        rate_hz=1 / period_s,
        jitter_s=float(gaps.std()),
        longest_gap=float(gaps.max()) / period_s,
        age_s=float(np.median(ages)),
        oldest_s=float(ages.max()),
    )


def judge_stamps(topic: str, found: Stamps, *, seconds: float, most_age_s: float = 1.0) -> Finding:
    """Judge a topic that was listened to for `seconds`; `most_age_s` is the oldest image that is planned from."""
    what = f"images on {topic}"
    if not found.count:
        fix = "start the camera's driver; compare the topic with `ros2 topic list`, and ROS_DOMAIN_ID with the driver's"
        return Finding(what, "off", f"none within {seconds:.0f} s", fix)
    if found.count < LEAST_IMAGES or math.isnan(found.rate_hz):
        fix = "`si-embodied doctor --deploy` looks at DDS: Fast DDS loses most images with its default settings"
        return Finding(what, "off", f"only {found.count} within {seconds:.0f} s, too few for a rate", fix)
    says = (
        f"{found.rate_hz:.1f} Hz, jitter {1000 * found.jitter_s:.1f} ms, longest gap {found.longest_gap:.1f} periods, "
        f"{1000 * found.age_s:.0f} ms old on arrival, at most {1000 * found.oldest_s:.0f} ms"
    )
    reason, fix = _harm(found, most_age_s)
    if reason:
        return Finding(what, "off", f"{reason}: {says}", fix)
    reason, fix = _loss(found)
    return Finding(what, "note", f"{reason}: {says}", fix) if reason else Finding(what, "fine", says)


def _harm(found: Stamps, most_age_s: float) -> tuple[str, str]:
    """What keeps the planner from planning on these images, and what to do; empty if nothing does."""
    if found.age_s < 0:
        return "stamps ahead of the clock", "synchronise the clocks of camera and computer (chrony)"
    if found.oldest_s > most_age_s:
        return f"older than {most_age_s:g} s", "synchronise the clocks (chrony), or lower resolution and rate"
    if found.rate_hz < LEAST_RATE_HZ:
        return "too slow", "raise the driver's rate; a USB 3 camera in a USB 2 port is slow too"
    return "", ""


def _loss(found: Stamps) -> tuple[str, str]:
    """What is wrong with the computer or its connections, though the planner can do with it."""
    if found.longest_gap > MOST_GAP:
        return "images are lost", "config/fastdds.xml and deploy/sysctl/60-si-embodied.conf; then the USB port or hub"
    if found.jitter_s * found.rate_hz > MOST_JITTER_RATIO:
        return "irregular", "auto exposure in the dark lowers the rate; else the computer or the USB hub is overloaded"
    return "", ""
