"""Where an MQTT broker is, and whose certificates are believed there."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import Invalid

PORTS = {"mqtt": 1883, "mqtts": 8883}


class TlsFiles(BaseModel):
    """PEM files on this machine: whose broker is believed, and what we show of ourselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: str = Field("", description="Certificates of the authorities; empty: the system's.")
    cert: str = Field("", description="Our own certificate; empty: none.")
    key: str = Field("", description="The key of our own certificate.")


@dataclass(frozen=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int
    is_tls: bool


def address_of(url: str) -> Address:
    """The parts of mqtt://host:1883 or mqtts://host:8883.

    Raises:
        Invalid: it is neither.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid(f"{url!r} is no address of a broker: {error}.", url=url) from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise Invalid(f"{url!r} is no address of a broker; it must be mqtt://host:1883 or mqtts://host:8883.", url=url)
    return Address(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts")


def context_of(tls: TlsFiles) -> ssl.SSLContext:
    """TLS as these files want it.

    Raises:
        Invalid: one of them cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"The TLS files of this account cannot be read: {error}. Give paths of PEM files.") from error
    context.sslsocket_class = _Closing
    return context


class _Closing(ssl.SSLSocket):
    """Closed when its handshake fails: the client library forgets it then."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
