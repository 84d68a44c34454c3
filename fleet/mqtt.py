"""MQTT to others: a client that comes back by itself, whose network thread no payload can end, and which hands over in batches.

The thread belongs to paho. What it hears waits in a bounded shelf (per topic the newest few), from which the event loop
takes everything at once. Nothing is resent on our side: who publishes waits for the other side's own answer.
"""

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import structlog
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet.mqtt_address import Address, TlsFiles, address_of, context_of

log = structlog.get_logger(__name__)

PAYLOAD_MAX_BYTES = 1_000_000
TOPICS_MAX = 20_000
WAITING_MAX_BYTES = 64_000_000
KEPT_PER_TOPIC = 16  # what one topic may lag behind before its oldest is given up, and counted
KEEPALIVE_S = 15
CONNECT_TIMEOUT_S = 5.0
BACK_AFTER_S = (1, 5)
ANSWER_TIMEOUT_S = 2.0  # a broker that knows 3.1.1 only may leave a CONNECT of 5 without any answer
REFUSED_PROTOCOL = {1, 132}  # CONNACK: unacceptable protocol version, in 3.1.1 and 5
# What a packet that is no MQTT raises inside paho; it would end the network thread for good.
POISON = (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Will:
    """What the broker says in our name when we vanish."""

    topic: str
    payload: bytes
    qos: int = 1
    is_retained: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """One message; `is_retained` when the broker had kept it: it may be of any age."""

    topic: str
    payload: bytes
    is_retained: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that came since the last batch; `complaints` are sentences about what was not taken."""

    messages: Sequence[Heard] = ()
    is_connected: bool = False
    has_turned: bool = False  # the connection came or went since the last batch
    complaints: Sequence[str] = ()


class _Client(Client):
    """A client whose thread survives poison, and which remembers why it could not connect."""

    why = ""

    def reconnect(self) -> MQTTErrorCode:
        """Connect again, and keep the reason when that fails."""
        try:
            return super().reconnect()
        except (OSError, ValueError) as error:
            self.why = _reason(error)
            raise OSError(self.why) from error

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """The network loop; bytes that are no MQTT close the connection, and a new one is made."""
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except POISON as error:
                self.why = f"the broker sent what is no MQTT ({type(error).__name__})"
                log.warning("mqtt connection given up", reason=self.why)
                self.connect_async(self.host, self.port, self.keepalive)


@dataclass
class _Shelf:
    """What was heard and not yet taken; filled by the network thread, emptied by the event loop."""

    lock: Lock = field(default_factory=Lock)
    messages: dict[str, deque[Heard]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    given_up: int = 0
    size: int = 0
    has_turned: bool = False

    def put(self, heard: Heard) -> bool:
        """Keep it; whether the shelf was empty before."""
        with self.lock:
            was_empty = not self.messages
            waiting = self.messages.setdefault(heard.topic, deque()) if len(self.messages) < TOPICS_MAX else None
            if waiting is None or self.size + len(heard.payload) > WAITING_MAX_BYTES:
                self.given_up += 1
                return was_empty
            if len(waiting) == KEPT_PER_TOPIC:
                self.given_up += 1
                self.size -= len(waiting.popleft().payload)
            waiting.append(heard)
            self.size += len(heard.payload)
            return was_empty

    def complain(self, sentence: str) -> None:
        """Keep a sentence, of few."""
        with self.lock:
            if len(self.complaints) < KEPT_PER_TOPIC:
                self.complaints.append(sentence)

    def take(self, is_connected: bool) -> Batch:
        """Everything, and the shelf is empty."""
        with self.lock:
            messages, self.messages, self.size = self.messages, {}, 0
            complaints, self.complaints = self.complaints, []
            has_turned, self.has_turned = self.has_turned, False
        return Batch([one for waiting in messages.values() for one in waiting], is_connected, has_turned, complaints)


class Mqtt:
    """One connection to a broker, made and made again in the background; see `open_mqtt`."""

    def __init__(self, address: Address, *, credential: str, tls: TlsFiles, will: Will | None) -> None:
        """Nothing is connected before `start`."""
        self._address, self._credential, self._tls, self._will = address, credential, tls, will
        self._loop = asyncio.get_running_loop()
        self._shelf = _Shelf()
        self._news = asyncio.Event()
        self._filters: dict[str, int] = {}
        self._version = MQTTProtocolVersion.MQTTv5
        self._client = self._made()
        self._answered = False  # the broker has answered a CONNECT of this protocol version
        self._failures = 0
        self._doubt: asyncio.Handle = self._loop.call_soon(_nothing)
        self.is_connected = False
        self.limits: dict[str, int] = {}
        self.payload_max_bytes = PAYLOAD_MAX_BYTES

    def start(self) -> None:
        """Begin to connect."""
        # On its own thread paho resolves, connects and comes back; nothing of it is waited for here.
        self._client.connect_async(self._address.host, self._address.port, KEEPALIVE_S, **self._session())
        self._client.loop_start()
        if self._version is MQTTProtocolVersion.MQTTv5:
            self._doubt = self._loop.call_later(ANSWER_TIMEOUT_S, self._wonder)

    def stop(self) -> None:
        """Say goodbye and end the thread; blocks for it."""
        self._loop.call_soon_threadsafe(self._doubt.cancel)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def why(self) -> str:
        """Why there is no connection; empty when there is."""
        return "" if self.is_connected else (self._client.why or "the broker has not answered yet")

    @property
    def given_up(self) -> int:
        """How many messages were replaced by newer ones of their topic before they were taken."""
        return self._shelf.given_up

    def subscribe(self, filters: Mapping[str, int]) -> None:
        """Hear these topics (filter -> QoS) from now on, after every reconnect again."""
        added = {name: qos for name, qos in filters.items() if self._filters.get(name) != qos}
        self._filters |= added
        if added and self.is_connected:
            self._client.subscribe(list(added.items()))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Hear these no more."""
        known = [name for name in filters if self._filters.pop(name, None) is not None]
        if known and self.is_connected:
            self._client.unsubscribe(known)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, is_retained: bool = False) -> bool:
        """Hand a message to the network; False when there is no connection: nothing will be sent later."""
        if not self.is_connected:
            return False
        return self._client.publish(topic, payload, qos=qos, retain=is_retained).rc == MQTT_ERR_SUCCESS

    async def heard(self) -> Batch:
        """What came since this was last asked, at once when there is something; for one reader."""
        await self._news.wait()
        self._news.clear()
        return self._shelf.take(self.is_connected)

    def _made(self) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id="", protocol=self._version)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(*BACK_AFTER_S)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message, client.on_connect_fail = self._came, self._failed
        if self._credential:
            name, _, password = self._credential.partition(":")
            client.username_pw_set(name, password or None)
        if self._address.is_tls:
            client.tls_set_context(context_of(self._tls))
        if self._will:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.is_retained)
        return client

    def _session(self) -> dict[str, Any]:
        """A new session each time: every message tells a whole state, what was missed is not wanted."""
        if self._version is not MQTTProtocolVersion.MQTTv5:
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = self.payload_max_bytes + 70_000  # a longer one is not sent to us at all
        properties.ReceiveMaximum = 65_535
        return {"clean_start": True, "properties": properties}

    # From here on: callbacks in the network thread.

    def _connected(
        self, client: Client, _: object, __: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._answered = code.value not in REFUSED_PROTOCOL
            self._client.why = f"the broker refused us: {code}"
            self._hear_soon(is_connected=False)
            return
        self._answered, self._client.why = True, ""
        self.limits = _limits(properties)
        for sentence in limit_complaints(self.limits):
            self._shelf.complain(sentence)
        # First connected, then the filters: one that is added meanwhile is then asked for twice rather than never.
        self.is_connected = True
        if self._filters:
            client.subscribe(list(self._filters.items()))
        self._hear_soon(is_connected=True)

    def _disconnected(
        self, client: Client, _: object, __: DisconnectFlags, code: ReasonCode, ___: Properties | None
    ) -> None:
        self._client.why = self._client.why or f"the connection ended: {code}"
        if self._version is MQTTProtocolVersion.MQTTv5 and not self._answered:
            self._failures += 1
            if self._failures >= 2:
                self._loop.call_soon_threadsafe(self._speak_older)
        self._hear_soon(is_connected=False)

    def _failed(self, client: Client, _: object) -> None:
        self._hear_soon(is_connected=False)

    def _came(self, client: Client, _: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._shelf.complain("A topic came that is no UTF-8; its message was not taken.")
            return
        if len(message.payload) > self.payload_max_bytes:
            self._shelf.complain(
                f"{topic[:200]} carried {len(message.payload)} bytes; more than {self.payload_max_bytes} are not taken."
            )
            self._ring()
        elif self._shelf.put(Heard(topic, bytes(message.payload), message.retain)):
            self._ring()

    def _hear_soon(self, *, is_connected: bool) -> None:
        self.is_connected = is_connected
        self._shelf.has_turned = True
        self._ring()

    def _ring(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def _wonder(self) -> None:
        """A connection that was not answered in all that time: perhaps 5 is not understood."""
        if self._answered:
            return
        if self._client.socket() is not None:
            self._speak_older()
        else:
            self._doubt = self._loop.call_later(ANSWER_TIMEOUT_S, self._wonder)

    def _speak_older(self) -> None:
        """A broker that twice closed without an answer, or gave none, knows MQTT 3.1.1 only."""
        if self._answered or self._version is not MQTTProtocolVersion.MQTTv5:
            return
        log.info("the broker does not speak MQTT 5, 3.1.1 is tried", host=self._address.host)
        old, self._version = self._client, MQTTProtocolVersion.MQTTv311
        self._client = self._made()
        old.on_connect = old.on_disconnect = old.on_message = old.on_connect_fail = None
        old.disconnect()
        self._loop.run_in_executor(None, old.loop_stop)
        self.start()


@asynccontextmanager
async def open_mqtt(
    url: str, *, credential: str = "", tls: TlsFiles | None = None, will: Will | None = None
) -> AsyncIterator[Mqtt]:
    """A connection to the broker at `url` that is made in the background; `credential` is "user:password".

    MQTT 5 is spoken, 3.1.1 to a broker that knows only that.

    Raises:
        Invalid: `url` is no address of a broker, or a TLS file cannot be read.
    """
    mqtt = Mqtt(address_of(url), credential=credential, tls=tls or TlsFiles(ca="", cert="", key=""), will=will)
    mqtt.start()
    try:
        yield mqtt
    finally:
        await asyncio.to_thread(mqtt.stop)


def limit_complaints(limits: Mapping[str, int]) -> list[str]:
    """What a broker's own limits (MQTT 5) would silently cost us, in sentences."""
    found = []
    if limits.get("RetainAvailable", 1) == 0:
        found.append(
            "The broker keeps no retained messages: whether a robot is connected is known only while we listen."
        )
    if limits.get("WildcardSubscriptionAvailable", 1) == 0:
        found.append("The broker allows no wildcards: robots are not discovered, only those that are held are heard.")
    if limits.get("MaximumQoS", 2) == 0:
        found.append("The broker carries QoS 0 only: that a robot's connection broke may be missed.")
    if limits.get("MaximumPacketSize", PAYLOAD_MAX_BYTES) < 65_536:
        found.append(
            f"The broker takes at most {limits['MaximumPacketSize']} bytes in a message: long orders are lost."
        )
    return found


def _nothing() -> None:
    """Where a handle is needed before there is one."""


def _limits(properties: Properties | None) -> dict[str, int]:
    said = properties.json() if properties is not None else {}  # type: ignore[no-untyped-call]
    return {name: number for name, number in said.items() if isinstance(number, int)}


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not believed: {error.verify_message}"
    return f"{type(error).__name__}: {error}"
