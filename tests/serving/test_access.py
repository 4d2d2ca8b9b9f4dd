"""Who may ask a planning server, and how often; what it counts."""

from __future__ import annotations

import re

import pytest

from si_embodied import Code, Hold
from si_embodied.errors import ConfigError, RequestRefused
from si_embodied.serving.access import ApiKey, RateLimit, is_loopback
from si_embodied.serving.metrics import Metrics
from si_embodied.types import PlanRecord

KEY = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_only_this_machine_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    ApiKey(None, host=host).check(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "workstation", ""])
def test_a_server_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="SI_EMBODIED_API_KEY"):
        ApiKey(None, host=host)
    ApiKey(KEY, host=host)


def test_a_key_that_can_be_guessed_is_none() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        ApiKey("secret", host="127.0.0.1")


@pytest.mark.parametrize("given", [None, "", KEY, f"Basic {KEY}", "Bearer ", f"Bearer {KEY}0", "Bearer ключ"])
def test_a_wrong_key_is_refused_and_not_repeated(given: str | None) -> None:
    with pytest.raises(RequestRefused) as refused:
        ApiKey(KEY, host="0.0.0.0").check(given)
    assert refused.value.reason == "unauthorized"
    assert KEY not in str(refused.value)


def test_the_right_key_lets_in() -> None:
    ApiKey(KEY, host="0.0.0.0").check(f"Bearer {KEY}")


def test_a_caller_may_ask_in_bursts_and_then_at_the_rate() -> None:
    now_s = [0.0]
    rate = RateLimit(2.0, 3, clock=lambda: now_s[0])
    for _ in range(3):
        rate.take("a")
    with pytest.raises(RequestRefused) as refused:
        rate.take("a")
    assert (refused.value.reason, refused.value.retry_after_s) == ("rate_limited", pytest.approx(0.5))
    rate.take("b")  # another caller's is another bucket
    now_s[0] = 0.5
    rate.take("a")
    with pytest.raises(RequestRefused):
        rate.take("a")


def test_a_quiet_caller_saves_up_no_more_than_a_burst() -> None:
    now_s = [0.0]
    rate = RateLimit(10.0, 2, clock=lambda: now_s[0])
    now_s[0] = 1000.0
    rate.take("a")
    rate.take("a")
    with pytest.raises(RequestRefused):
        rate.take("a")


@pytest.mark.parametrize(("per_s", "burst"), [(0.0, 1), (1.0, 0)])
def test_a_rate_that_lets_nobody_in_is_refused(per_s: float, burst: int) -> None:
    with pytest.raises(ConfigError):
        RateLimit(per_s, burst)


def test_metrics_are_counted_in_prometheus_own_format() -> None:
    metrics = Metrics({"si_embodied_waiting_robots": ("Robots that wait.", lambda: 2)})
    for total_s in (0.02, 0.3, 60.0):
        record = PlanRecord(0.0, "v", "m", "k", "d", (), 0, 0, {"total": total_s}, Code.DEPTH_INVALID, "")
        metrics.decided(Hold(record))
    metrics.refused("rate_limited")
    text = metrics.text()
    assert 'si_embodied_decisions_total{code="depth_invalid"} 3' in text
    assert 'si_embodied_refusals_total{reason="rate_limited"} 1' in text
    assert "\nsi_embodied_waiting_robots 2\n" in text
    buckets = dict(re.findall(r'plan_seconds_bucket\{part="total",le="([^"]+)"\} (\d+)', text))
    assert (buckets["0.01"], buckets["0.025"], buckets["0.5"], buckets["30.0"], buckets["+Inf"]) == (
        "0",
        "1",
        "2",
        "2",
        "3",
    )
    assert 'plan_seconds_sum{part="total"} 60.32' in text
    assert 'plan_seconds_count{part="total"} 3' in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{[^{}]*\})? [-+\d.einf]+", line), line
