"""A page opened by a stranger shows nothing."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from si_embodied.errors import ConfigError
from si_embodied.live.address import new_key
from si_embodied.live.app import PageApp
from si_embodied.live.board import Board
from si_embodied.live.door import Door

KEY = "a-key-of-24-characters-00"


@pytest.fixture
def client() -> TestClient:
    door = Door(PageApp(Board(), "watch").app, KEY, host="127.0.0.1")
    return TestClient(door, base_url="http://127.0.0.1:8430", follow_redirects=False)


def test_the_address_with_the_key_shows_the_page_and_its_files(client: TestClient) -> None:
    page = client.get(f"/{KEY}/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "file/page.js" in page.text
    for name in ("page.css", "page.js", "drawing.js", "play.js"):
        assert client.get(f"/{KEY}/file/{name}").status_code == 200


def test_an_address_without_its_last_slash_leads_to_the_page(client: TestClient) -> None:
    reply = client.get(f"/{KEY}")
    assert (reply.status_code, reply.headers["location"]) == (307, f"/{KEY}/")


@pytest.mark.parametrize(
    "path",
    ["/", "/events", "/file/page.js", "/a-key-of-24-characters-01/", f"/x/{KEY}/", "/favicon.ico", f"/{KEY[:-1]}/"],
)
def test_without_the_key_there_is_nothing(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert "si-embodied" not in reply.text
    assert "script" not in reply.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8430", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_rebound_to_this_machine_is_refused_even_with_the_key(client: TestClient, host: str) -> None:
    reply = client.get(f"/{KEY}/", headers={"Host": host})
    assert reply.status_code == 403
    assert "script" not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8430", "localhost:1", "[::1]:8430", "192.168.1.7"])
def test_an_address_or_the_servers_own_name_is_answered(client: TestClient, host: str) -> None:
    assert client.get(f"/{KEY}/", headers={"Host": host}).status_code == 200


def test_another_page_cannot_send_commands(client: TestClient) -> None:
    there = client.post(f"/{KEY}/do", headers={"Origin": "http://evil.example"}, json={})
    assert there.status_code == 403
    own = client.post(f"/{KEY}/do", headers={"Origin": "http://127.0.0.1:8430"}, json={})
    assert own.status_code in (404, 405), "the watch page has no commands, and says so"


def test_nothing_from_elsewhere_runs_on_the_page(client: TestClient) -> None:
    headers = client.get(f"/{KEY}/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
    assert headers["x-content-type-options"] == "nosniff"


def test_an_address_that_guesses_waits_ever_longer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("si_embodied.live.door.asyncio.sleep", sleep)
    for number in range(4):
        assert client.get(f"/a-wrong-key-of-some-length-{number}/").status_code == 404
    assert waits[0] == 0
    assert waits[1] > 0
    assert waits[3] > waits[1]


def test_keys_are_long_and_new_each_time() -> None:
    keys = {new_key() for _ in range(10)}
    assert len(keys) == 10
    assert min(map(len, keys)) >= 32
    with pytest.raises(ConfigError, match="at least 16"):
        Door(PageApp(Board(), "watch").app, "short", host="127.0.0.1")
