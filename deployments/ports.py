"""The loopback ports of a platform: the usual ones where they are free, others where not, or a block that somebody chose."""

import socket
from contextlib import suppress
from dataclasses import astuple, dataclass

import psutil

from fleet.errors import Conflict, Invalid

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where each server listens."""

    prefect: int = 4200
    api: int = 8000
    site: int = 8100
    broker: int = 1883


def choose_ports(base: int | None) -> Ports:
    """Four free ports: `base` and the three after it, or the usual ones, or any.

    Raises:
        Invalid: `base` leaves no room for four ports.
        Conflict: one of the chosen block is in use; says which and by whom.
    """
    if base is None:
        return Ports(*(port if is_free(port) else any_free() for port in astuple(Ports())))
    if not 1024 <= base <= 65_532:
        raise Invalid(f"The port base {base} is out of range; choose one from 1024 to 65532.", port_base=base)
    chosen = Ports(*range(base, base + 4))
    for name, port in vars(chosen).items():
        if not is_free(port):
            raise Conflict(
                f"Port {port} (for the {name}) is in use{_owner(port)}. Stop that process, or choose another --port-base.",
                port=port,
            )
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """A free loopback port that the system picks."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _owner(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for found in psutil.net_connections(kind="tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN and found.pid:
                return f" by process {found.pid} ({psutil.Process(found.pid).name()})"
    return ""
