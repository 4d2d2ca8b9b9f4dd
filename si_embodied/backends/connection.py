"""The HTTP connection to a model server: its address, its key and the environment's proxies."""

from __future__ import annotations

from si_embodied.backends.proxies import environment_advice
from si_embodied.errors import ConfigError, extra

with extra("serve"):
    import httpx

API_KEY_VARIABLE = "SI_EMBODIED_SERVER_KEY"


def http_client(url: httpx.URL, key: str | None, connect_timeout_s: float) -> httpx.AsyncClient:
    """An HTTP client for one server.

    Raises:
        ConfigError: the key, or a proxy or certificate file in the environment, cannot be used.
    """
    # The HTTP library's own error would quote the header, and with it the key.
    if key and (not (key.isascii() and key.isprintable()) or key != key.strip()):
        raise ConfigError(
            f"expected an API key of printable ASCII characters; set {API_KEY_VARIABLE} without line breaks, quotes "
            "and blanks around it"
        )
    try:
        return httpx.AsyncClient(
            # Without compression, the limit on an answer's size also limits the bytes read.
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            # No read timeout: the caller's deadline covers the whole exchange.
            timeout=httpx.Timeout(connect_timeout_s, read=None),
            # Local servers bypass the environment's proxy.
            trust_env=url.host not in ("127.0.0.1", "::1", "localhost"),
        )
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        raise ConfigError(environment_advice(str(url), error)) from error


def base_url(url: str) -> httpx.URL:
    """The URL without a trailing "/v1".

    Raises:
        ConfigError: not an HTTP URL, or one with a password.
    """
    try:
        parsed = httpx.URL(url.rstrip("/").removesuffix("/v1"))
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"expected a URL such as http://127.0.0.1:8000, got {url!r}: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"expected a URL such as http://127.0.0.1:8000, got: {url!r}")
    if parsed.userinfo:
        raise ConfigError(
            f"the server's URL contains a password, which would be logged; set {API_KEY_VARIABLE} instead"
        )
    return parsed
