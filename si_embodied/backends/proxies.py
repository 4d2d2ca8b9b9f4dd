"""Advice for proxies and certificate files in the environment, which HTTP libraries reject each in their own way."""

from __future__ import annotations

import os

_VARIABLES = (
    "http_proxy",
    "https_proxy",
    "ws_proxy",
    "wss_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


def environment_advice(url: str, error: Exception) -> str:
    """The message for a client of `url` that could not be created. Variables are named without their values.

    The values may hold passwords.
    """
    names = dict.fromkeys(name for variable in _VARIABLES for name in (variable, variable.upper()))
    present = [name for name in names if os.environ.get(name)]
    socks = "SOCKS proxies are not supported; use an HTTP proxy. " if isinstance(error, ImportError) else ""
    return (
        f"cannot connect to {url} with the proxy settings in the environment ({', '.join(present) or 'none set'}): "
        f"{error}. {socks}Correct or unset them, or add the server's host to no_proxy; "
        "IPv6 addresses in no_proxy are written without brackets, ports or prefix lengths"
    )
