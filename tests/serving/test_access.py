"""Authentication, rate limits and metrics of a planning server."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from si_embodied import Code, Hold
from si_embodied.backends.server import ServerBackend
from si_embodied.embodiment import MobileBase
from si_embodied.errors import ConfigError, RequestRefused
from si_embodied.serving.access import API_KEY_VARIABLE, ApiKey, RateLimit, WrongKeys, is_loopback, read_key
from si_embodied.serving.client import RemotePlanner
from si_embodied.serving.metrics import Metrics
from si_embodied.types import PlanRecord

KEY = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_server_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    ApiKey(None, host=host).check(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "workstation", ""])
def test_a_reachable_server_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="SI_EMBODIED_API_KEY"):
        ApiKey(None, host=host)
    ApiKey(KEY, host=host)


def test_a_short_key_is_rejected() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        ApiKey("secret", host="127.0.0.1")


@pytest.mark.parametrize("given", [None, "", KEY, f"Basic {KEY}", "Bearer ", f"Bearer {KEY}0", "Bearer ключ"])
def test_a_wrong_key_is_refused_and_not_repeated(given: str | None) -> None:
    with pytest.raises(RequestRefused) as refused:
        ApiKey(KEY, host="0.0.0.0").check(given)
    assert refused.value.reason == "unauthorized"
    assert KEY not in str(refused.value)


def test_the_right_key_is_accepted() -> None:
    ApiKey(KEY, host="0.0.0.0").check(f"Bearer {KEY}")


@pytest.mark.parametrize(
    "key", ["sixteen-létters-and-more", "sixteen letters\nand more", "sixteen letters and more ", " " * 20]
)
def test_a_key_that_http_cannot_carry_is_rejected(key: str) -> None:
    with pytest.raises(ConfigError, match="ASCII"):
        ApiKey(key, host="0.0.0.0")


def test_a_key_file_holds_the_key_on_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f" {KEY} \nnotes\n")
    assert read_key(tmp_path / "key") == KEY


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "no API key"), (b"\xff\xfe", "not a text file")]
)
def test_an_unusable_key_file_is_a_config_error(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_key(tmp_path / "key")


def test_blanks_around_the_key_in_the_environment_are_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, f" {KEY}\n")
    assert read_key(None) == KEY
    monkeypatch.setenv(API_KEY_VARIABLE, "  ")
    with pytest.raises(ConfigError, match="set, but to blanks"):
        read_key(None)
    monkeypatch.delenv(API_KEY_VARIABLE)
    assert read_key(None) is None


@pytest.mark.parametrize("key", ["topsecret\r\nX-Evil: 1", "tøpsecret", "topsecret "])
def test_a_client_with_an_unusable_key_says_so_and_does_not_show_it(key: str, base: MobileBase) -> None:
    """The libraries' own errors quote the header, which would put the key into records and logs."""
    with pytest.raises(ConfigError, match="expected an API key") as of_planner:
        RemotePlanner("ws://127.0.0.1:1", base, api_key=key)
    with pytest.raises(ConfigError, match="expected an API key") as of_server:
        ServerBackend("http://127.0.0.1:1", "m", api_key=key)
    assert "psecret" not in f"{of_planner.value}{of_server.value}"


def test_each_wrong_key_makes_its_address_wait_longer() -> None:
    now_s = [0.0]
    wrong = WrongKeys(first_s=0.25, longest_s=4.0, clock=lambda: now_s[0])
    waits = []
    for _ in range(8):
        waits.append(wrong.wait_s("a"))
        now_s[0] += waits[-1]
        wrong.add("a")
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert wrong.wait_s("b") == 0.0
    now_s[0] += 301.0
    assert wrong.wait_s("a") == 0.0


def test_parallel_guesses_are_checked_one_at_a_time_and_then_refused() -> None:
    wrong = WrongKeys(first_s=1.0, patience_s=3.0, clock=lambda: 0.0)
    wrong.add("a")
    assert [wrong.wait_s("a") for _ in range(3)] == [1.0, 2.0, 3.0]
    with pytest.raises(RequestRefused) as refused:
        wrong.wait_s("a")
    assert (refused.value.reason, refused.value.retry_after_s) == ("rate_limited", 4.0)


def test_a_caller_may_burst_and_then_is_limited_to_the_rate() -> None:
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


def test_an_idle_caller_accumulates_at_most_one_burst() -> None:
    now_s = [0.0]
    rate = RateLimit(10.0, 2, clock=lambda: now_s[0])
    now_s[0] = 1000.0
    rate.take("a")
    rate.take("a")
    with pytest.raises(RequestRefused):
        rate.take("a")


@pytest.mark.parametrize(("per_s", "burst"), [(0.0, 1), (1.0, 0)])
def test_a_rate_of_zero_is_rejected(per_s: float, burst: int) -> None:
    with pytest.raises(ConfigError):
        RateLimit(per_s, burst)


def test_decisions_refusals_latency_and_load_are_exposed_to_prometheus() -> None:
    metrics = Metrics(waiting=lambda: 2, working=lambda: 4, connected=lambda: 3)
    for total_s in (0.02, 0.3, 60.0):
        record = PlanRecord(0.0, "v", "m", "k", "d", (), 0, 0, {"total": total_s}, Code.DEPTH_INVALID, "")
        metrics.decided(Hold(record))
    metrics.refused("rate_limited")
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    kinds = {name: family.type for name, family in families.items() if not name.endswith("_created")}
    assert kinds == {
        "si_embodied_decisions": "counter",
        "si_embodied_chats": "counter",
        "si_embodied_refusals": "counter",
        "si_embodied_plan_seconds": "histogram",
        "si_embodied_waiting_robots": "gauge",
        "si_embodied_planning_robots": "gauge",
        "si_embodied_connected_robots": "gauge",
    }
    samples = {
        (sample.name.removeprefix("si_embodied_"), *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["decisions_total", "depth_invalid"] == 3
    assert samples["refusals_total", "rate_limited"] == 1
    assert (samples["waiting_robots",], samples["connected_robots",]) == (2, 3)
    cumulative = [samples["plan_seconds_bucket", bound, "total"] for bound in ("0.01", "0.025", "0.5", "30.0", "+Inf")]
    assert cumulative == [0, 1, 2, 2, 3]
    assert samples["plan_seconds_sum", "total"] == pytest.approx(60.32)
    assert samples["plan_seconds_count", "total"] == 3


def test_two_servers_in_one_process_count_separately() -> None:
    first, second = (Metrics(waiting=lambda: 0, working=lambda: 0, connected=lambda: 0) for _ in range(2))
    first.refused("busy")
    assert b"busy" in first.text()
    assert b"busy" not in second.text()
