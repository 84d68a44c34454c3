"""WebSockets dialled out: whom they trust, and what a person is told when there is no line."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import serve

from fleet.errors import Invalid, Unavailable
from fleet.websocket import LineClosed, open_websocket


@pytest.fixture
def certificate(tmp_path: Path):
    """Makes a self-signed certificate for 127.0.0.1 that is valid until so many days from now; gives its file."""

    def make(days: int) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "yard")])
        until = datetime.now(UTC) + timedelta(days=days)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - timedelta(days=30))
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / f"{days}.pem"
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
        return file

    return make


@pytest.fixture
async def echo():
    """Starts a server that says back what it hears; gives its port."""
    servers = []

    async def start(file: Path | None = None) -> int:
        async def say_back(line) -> None:
            async for text in line:
                if text == "leave":
                    await line.close(4409, "somebody else came")
                await line.send(text)

        context = None
        if file is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
        server = await serve(say_back, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_what_is_said_is_heard(echo):
    async with open_websocket(f"ws://127.0.0.1:{await echo()}") as line:
        await line.say("hello")
        assert await line.hear() == "hello"


async def test_a_certificate_that_we_were_told_to_trust_is_trusted(echo, certificate):
    file = certificate(10)
    async with open_websocket(f"wss://127.0.0.1:{await echo(file)}", ca=file) as line:
        await line.say("hello")
        assert await line.hear() == "hello"


async def test_a_certificate_that_nobody_vouches_for_is_not(echo, certificate):
    with pytest.raises(Unavailable, match="The certificate of wss"):
        async with open_websocket(f"wss://127.0.0.1:{await echo(certificate(10))}"):
            pytest.fail("it was trusted")


async def test_a_certificate_that_expired_is_told_so(echo, certificate):
    file = certificate(-1)
    with pytest.raises(Unavailable, match="is not valid: certificate has expired"):
        async with open_websocket(f"wss://127.0.0.1:{await echo(file)}", ca=file):
            pytest.fail("it was trusted")


async def test_a_line_that_the_other_side_closes_tells_its_code_and_words(echo):
    async with open_websocket(f"ws://127.0.0.1:{await echo()}") as line:
        await line.say("leave")
        with pytest.raises(LineClosed, match="somebody else came") as told:
            await line.hear()
    assert told.value.close_code == 4409


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "127.0.0.1:80"])
async def test_what_is_no_address_is_refused(url):
    with pytest.raises(Invalid, match="no address"):
        async with open_websocket(url):
            pytest.fail("it was dialled")


async def test_nobody_there_is_told(unused_tcp_port):
    with pytest.raises(Unavailable, match="does not answer"):
        async with open_websocket(f"ws://127.0.0.1:{unused_tcp_port}"):
            pytest.fail("somebody answered")


async def test_a_server_that_speaks_something_else_is_told(unused_tcp_port):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", unused_tcp_port)
    with pytest.raises(Unavailable, match="502"):
        async with open_websocket(f"ws://127.0.0.1:{unused_tcp_port}"):
            pytest.fail("it was let in")
    server.close()
    await server.wait_closed()
