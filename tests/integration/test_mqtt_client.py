"""The MQTT client against brokers that misbehave: its thread lives, its reasons are sentences, and it comes back."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.errors import Invalid
from fleet.mqtt import PAYLOAD_MAX_BYTES, limit_complaints, open_mqtt
from fleet.mqtt_address import TlsFiles, address_of

PATIENCE_S = 25.0
CONNACK_5, CONNACK_311 = b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"
POISON = {
    "a publish without a topic": b"\x30\x01\x00",
    "a publish whose topic is longer than itself": b"\x30\x03\xff\xff\x61",
    "a packet of a type that does not exist": b"\xf0\x01\x00\x00\x00",
    "a CONNACK that was not asked for": b"\x20\x01\x00",
    "an answer to nothing": b"\x90\x03\x00\x01\xff",
    "an endless length": b"\x30\xff\xff\xff\xff\xff",
}


def publish(topic: bytes, payload: bytes = b"x") -> bytes:
    """A PUBLISH of MQTT 5 at QoS 0 without properties, shorter than 128 bytes."""
    body = len(topic).to_bytes(2, "big") + topic + b"\x00" + payload
    return b"\x30" + len(body).to_bytes(1, "big") + body


class Liar:
    """A broker that answers a CONNECT and then says what it was given to say, one list for each connection."""

    def __init__(self, *says: bytes, connack: bytes = CONNACK_5, answers_5: bool = True) -> None:
        self._says, self._connack, self._answers_5 = list(says), connack, answers_5
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            connect = await reader.read(1024)
            if b"\x00\x04MQTT\x05" in connect and not self._answers_5:
                await reader.read()
                return
            writer.write(self._connack)
            await writer.drain()
            said = self._says[min(self.connections, len(self._says) - 1)] if self._says else b""
            self.connections += 1
            await reader.read(1024)
            writer.write(said)
            await writer.drain()
            await reader.read()


@contextlib.asynccontextmanager
async def lying(liar: Liar, context: ssl.SSLContext | None = None):
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def first_messages(mqtt):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            batch = await mqtt.heard()
            if batch.messages or batch.complaints:
                return batch


async def test_a_topic_that_is_no_utf_8_is_complained_of_and_the_next_message_is_heard():
    async with (
        lying(Liar(publish(b"a/\xff\xfe") + publish(b"a/b"))) as port,
        open_mqtt(f"mqtt://127.0.0.1:{port}") as mqtt,
    ):
        mqtt.subscribe({"a/#": 0})
        batch = await first_messages(mqtt)
        assert [one.topic for one in batch.messages] == ["a/b"]
        assert "no UTF-8" in batch.complaints[0]


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_bytes_that_are_no_mqtt_end_the_connection_and_not_the_client(poison):
    async with lying(Liar(poison, publish(b"a/b"))) as port, open_mqtt(f"mqtt://127.0.0.1:{port}") as mqtt:
        mqtt.subscribe({"a/#": 0})
        batch = await first_messages(mqtt)
        assert [one.topic for one in batch.messages] == ["a/b"]


async def test_a_broker_that_knows_mqtt_3_1_1_only_is_spoken_to_in_that():
    async with (
        lying(Liar(connack=CONNACK_311, answers_5=False)) as port,
        open_mqtt(f"mqtt://127.0.0.1:{port}") as mqtt,
        asyncio.timeout(PATIENCE_S),
    ):
        while not mqtt.is_connected:
            await mqtt.heard()


async def test_without_a_broker_nothing_is_sent_and_the_reason_is_told():
    async with open_mqtt("mqtt://127.0.0.1:9") as mqtt:
        assert mqtt.publish("a", b"b") is False
        async with asyncio.timeout(PATIENCE_S):
            while "refused" not in mqtt.why:
                await mqtt.heard()


async def test_a_certificate_that_expired_is_named_as_the_reason(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begun = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begun)
        .not_valid_after(begun + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "cert.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = tmp_path / "key.pem"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    tls = TlsFiles(ca=str(pem), cert="", key="")
    async with lying(Liar(), context) as port, open_mqtt(f"mqtts://127.0.0.1:{port}", tls=tls) as mqtt:
        async with asyncio.timeout(PATIENCE_S):
            while "certificate" not in mqtt.why:
                await mqtt.heard()
        assert "expired" in mqtt.why


async def test_tls_files_that_are_not_there_are_refused_at_once(tmp_path):
    with pytest.raises(Invalid, match="PEM"):
        async with open_mqtt("mqtts://127.0.0.1:9", tls=TlsFiles(ca=str(tmp_path / "none.pem"), cert="", key="")):
            pass


@pytest.mark.parametrize("url", ["", "http://x", "mqtt://", "mqtt://host:port", "mqtt://host:99999999", "mqtt://[::1"])
def test_what_is_no_address_of_a_broker_is_refused(url):
    with pytest.raises(Invalid):
        address_of(url)


def test_a_broker_that_would_silently_lose_things_is_complained_of():
    assert limit_complaints({"RetainAvailable": 1, "MaximumPacketSize": PAYLOAD_MAX_BYTES}) == []
    said = limit_complaints(
        {"RetainAvailable": 0, "WildcardSubscriptionAvailable": 0, "MaximumQoS": 0, "MaximumPacketSize": 1000}
    )
    assert len(said) == 4


async def test_a_topic_that_is_not_taken_in_time_keeps_its_newest_and_counts_the_rest(broker):
    async with open_mqtt(broker.url) as speaker, open_mqtt(broker.url) as hearer:
        hearer.subscribe({"a/b": 1, "done": 1})
        async with asyncio.timeout(PATIENCE_S):
            for mqtt in (speaker, hearer):
                while not mqtt.is_connected:
                    await mqtt.heard()
            while not hearer.given_up:
                for number in range(100):
                    speaker.publish("a/b", str(number).encode(), qos=1)
                await asyncio.sleep(0.1)  # the network works while nobody takes what it heard
            batch = await hearer.heard()
        assert len([one for one in batch.messages if one.topic == "a/b"]) == 16
