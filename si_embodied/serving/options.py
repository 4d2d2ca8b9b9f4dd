"""The options of a planning server, which import no server library."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError
from si_embodied.serving.access import ApiKey

MOST_BYTES = 64 << 20
"""The largest message: eight raw 1280 x 720 images with their depth are 52 MB."""
HOST = Doc("address to listen at; any but this machine's own needs an API key")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one client."""

    most_bytes: Annotated[int, Doc("per message; a raw 1280 x 720 image with depth is 6.5 MB")] = 16 << 20
    per_s: Annotated[float, Doc("average requests per second from one address")] = 20.0
    burst: Annotated[int, Doc("requests at once from one address")] = 40

    def __post_init__(self) -> None:
        """Reject a message size beyond the protocol's own limit."""
        if not 1 << 10 <= self.most_bytes <= MOST_BYTES:
            raise ConfigError(f"expected most_bytes from 1 kB to {MOST_BYTES >> 20} MB, got: {self.most_bytes} bytes")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Address, access and limits of a server."""

    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, Doc("0 picks a free port")] = 8421
    api_key: Annotated[str | None, Doc("the key that clients must send")] = field(default=None, repr=False)
    certificate: Annotated[Path | None, Doc("PEM file; enables https and wss")] = None
    private_key: Annotated[Path | None, Doc("PEM file with the certificate's key")] = None
    limits: Limits = field(default_factory=Limits)
    alias: Annotated[
        tuple[str, ...], Doc("another name of the model for clients of OpenAI's API, such as OpenGVLab/InternVL3-8B")
    ] = ()
    threads: Annotated[int, Doc("plans at once; more than one only for a backend that takes several prompts")] = 1
    grace_s: Annotated[float, Doc("time for accepted requests to finish on shutdown")] = 10.0

    def __post_init__(self) -> None:
        """Reject a publicly reachable host without a key, and an unusable certificate, before a model is loaded."""
        ApiKey(self.api_key, host=self.host)
        _check_certificate(self.certificate, self.private_key)


def _check_certificate(certificate: Path | None, private_key: Path | None) -> None:
    """Check that TLS can be served with these files.

    Raises:
        ConfigError: there is a key without a certificate, or one of them cannot be used.
    """
    if certificate is None:
        if private_key is not None:
            raise ConfigError(
                f"a private key ({str(private_key)!r}) is of no use without a certificate: give --certificate too"
            )
        return
    files = f"certificate {str(certificate)!r} and private key {str(private_key or certificate)!r}"
    try:
        # Without a password callback, OpenSSL would ask for an encrypted key's password on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password=lambda: "")
    except (OSError, ValueError) as error:  # OSError includes ssl.SSLError
        raise ConfigError(
            f"cannot serve with {files} ({error}): give PEM files that belong together, the key unencrypted"
        ) from error
