"""Where a DDS link lives: the domain id, the peers and the interface of `dds://?domain=42&peers=10.0.0.7&interface=eth0`."""

import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, ip_address
from threading import Lock
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

from cyclonedds.core import DDSException
from cyclonedds.domain import Domain

from fleet.errors import Invalid, Unavailable

KNOWN = ("domain", "peers", "interface", "multicast", "participants")
LOOPBACK = "127.0.0.1"
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
HIGHEST_DOMAIN = 232  # above it, the ports of RTPS 2.2 section 9.6.1.1 would end beyond 65535
MOST_PARTICIPANTS = 119  # what fits between the ports of two domains


@dataclass(frozen=True)
class DomainAddress:
    """A DDS domain and the way into it; without peers, others are found by multicast on the network."""

    domain: int
    peers: tuple[str, ...] = ()
    interface: str = ""
    is_multicast: bool = True
    participants: int = 99  # processes of one host that are looked for at each peer

    def configuration(self) -> str:
        """Cyclone's configuration for it, as XML."""
        interface = self._interface()
        peers = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in self.peers)
        return (
            "<CycloneDDS><Domain Id='any'><General>"
            + (f"<Interfaces>{interface}</Interfaces>" if interface else "")
            + f"<AllowMulticast>{'default' if self.is_multicast else 'false'}</AllowMulticast></General>"
            "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
            f"<MaxAutoParticipantIndex>{self.participants}</MaxAutoParticipantIndex>"
            + (f"<Peers>{peers}</Peers>" if peers else "")
            + "</Discovery></Domain></CycloneDDS>"
        )

    def _interface(self) -> str:
        name = self.interface
        if not name and self.peers and all(peer == LOOPBACK for peer in self.peers):
            name = LOOPBACK
        if not name:
            return ""
        try:
            ip_address(name)
        except ValueError:
            return f"<NetworkInterface name={quoteattr(name)}/>"
        return f"<NetworkInterface address={quoteattr(name)}/>"


def address_of(url: str) -> DomainAddress:
    """What a dds:// URL says.

    Raises:
        Invalid: it is none; says what is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme != "dds" or parts.netloc or parts.path.strip("/"):
        raise Invalid(f"{url!r} is no address of a DDS domain; write dds://?domain=42&peers=10.0.0.7.", url=url)
    given = parse_qs(parts.query, keep_blank_values=True)
    unknown = sorted(given.keys() - set(KNOWN))
    if unknown:
        raise Invalid(f"{url!r} has {', '.join(unknown)}; a dds:// URL knows {', '.join(KNOWN)}.", url=url)
    peers = tuple(peer for text in given.get("peers", []) for peer in text.replace(" ", "").split(",") if peer)
    wrong = [peer for peer in peers if HOST.fullmatch(peer) is None]
    if wrong:
        raise Invalid(f"{wrong[0]!r} in {url!r} is no peer; give IPv4 addresses or names of hosts.", url=url)
    multicast = given.get("multicast", ["off" if peers else "on"])[-1]
    if multicast not in ("on", "off"):
        raise Invalid(f"multicast is {multicast!r} in {url!r}; write on or off.", url=url)
    return DomainAddress(
        domain=_number(url, "domain", given.get("domain", ["0"])[-1], HIGHEST_DOMAIN),
        peers=peers,
        interface=given.get("interface", [""])[-1],
        is_multicast=multicast == "on",
        participants=_number(url, "participants", given.get("participants", ["99"])[-1], MOST_PARTICIPANTS),
    )


def resolved(address: DomainAddress) -> DomainAddress:
    """The same with addresses in place of names; asks the resolver, so not on an event loop.

    Cyclone ends the whole process when it cannot resolve a peer.

    Raises:
        Unavailable: a name is not known.
    """
    return replace(address, peers=tuple(_resolved(peer) for peer in address.peers))


def _resolved(peer: str) -> str:
    try:
        return str(IPv4Address(peer))
    except AddressValueError:
        pass
    try:
        return socket.gethostbyname(peer)
    except OSError as error:
        raise Unavailable(
            f"The DDS peer {peer!r} cannot be found: {error}. Is its name right, and the resolver there?", peer=peer
        ) from None


def _number(url: str, name: str, text: str, highest: int) -> int:
    if not text.isdecimal() or int(text) > highest:
        raise Invalid(f"{name} is {text!r} in {url!r}; it is a whole number from 0 to {highest}.", url=url)
    return int(text)


def _domain(address: DomainAddress) -> Domain:
    try:
        return Domain(address.domain, address.configuration())
    except DDSException as error:
        on = f"interface {address.interface!r}" if address.interface else "any network interface"
        raise Unavailable(
            f"DDS domain {address.domain} cannot be opened on {on}: is it there, and up? Cyclone says: {error}",
            domain=address.domain,
        ) from None


class _Domains:
    """The domains open in this process: Cyclone allows one configuration per domain id."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[int, tuple[DomainAddress, Domain]] = {}
        self._users: Counter[int] = Counter()

    def enter(self, address: DomainAddress) -> None:
        with self._lock:
            found = self._open.get(address.domain)
            if found is None:
                self._open[address.domain] = (address, _domain(address))
            elif found[0] != address:
                raise Invalid(
                    f"DDS domain {address.domain} is open in this process with other settings ({found[0]}); "
                    f"use the same ones for all accounts of this domain.",
                    domain=address.domain,
                )
            self._users[address.domain] += 1

    def leave(self, address: DomainAddress) -> None:
        with self._lock:
            self._users[address.domain] -= 1
            if not self._users[address.domain]:
                del self._open[address.domain]


_DOMAINS = _Domains()


@contextmanager
def opened(address: DomainAddress) -> Iterator[None]:
    """The domain is there while the block runs; several may use it at once.

    Raises:
        Invalid: this process has it open with other settings.
        Unavailable: the network interface is not there.
    """
    _DOMAINS.enter(address)
    try:
        yield
    finally:
        _DOMAINS.leave(address)
