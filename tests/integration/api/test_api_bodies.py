"""Bodies: too large is refused without reading it all, declared, chunked or lying; too slow is refused too."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from api import app as application

LIMIT = 1_000_000  # the default of webhook_body_max_bytes
MANY = 50_000_000
PIECE = b"x" * 100_000


@pytest.fixture
def path(world) -> str:
    return f"/v1/webhooks/{world.account.id}"


@pytest.fixture
def talk(url: str) -> Iterator:
    """Opens a raw connection and sends the head of a request."""
    host, port = url.removeprefix("http://").split(":")
    opened = []

    def do(*lines: str) -> socket.socket:
        connection = socket.create_connection((host, int(port)), timeout=20)
        opened.append(connection)
        connection.sendall("\r\n".join([*lines, f"Host: {host}", "", ""]).encode())
        return connection

    yield do
    for connection in opened:
        connection.close()


def _push(connection: socket.socket, *, chunked: bool) -> int:
    """Send up to MANY bytes until the other side closes; how many it let us send."""
    sent = 0
    try:
        while sent < MANY:
            connection.sendall(f"{len(PIECE):x}\r\n".encode() + PIECE + b"\r\n" if chunked else PIECE)
            sent += len(PIECE)
    except (BrokenPipeError, ConnectionResetError):
        return sent
    return sent


def _answer(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""


def test_50_mb_that_are_declared_are_refused_before_a_byte_is_read(talk, path):
    connection = talk(f"POST {path} HTTP/1.1", f"Content-Length: {MANY}")
    answer = connection.recv(65_536)  # nothing of the body has been sent yet
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b"application/problem+json" in answer
    assert _push(connection, chunked=False) < MANY


def test_50_mb_that_are_not_declared_are_refused_on_the_way(talk, path):
    connection = talk(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked")
    assert _push(connection, chunked=True) < MANY


def test_a_body_that_is_not_declared_is_refused_at_the_first_byte_too_many(talk, path):
    connection = talk(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked")
    body = b"x" * (LIMIT + 1)
    connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_just_the_limit_is_read(anonymous, path):
    assert anonymous.post(path, content=b"x" * LIMIT).status_code == 401
    assert anonymous.post(path, content=b"x" * (LIMIT + 1)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e9", "nonsense", "9" * 30])
def test_a_length_that_is_none_is_refused(talk, path, length: str):
    answer = _answer(talk(f"POST {path} HTTP/1.1", f"Content-Length: {length}"))
    assert not answer or answer.split(b" ")[1] in (b"400", b"413")


def test_after_a_refusal_on_sight_the_rest_of_the_body_is_never_read(talk):
    connection = talk(f"POST /v1/webhooks/{uuid4()} HTTP/1.1", "Transfer-Encoding: chunked")
    answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"connection: close" in answer.lower()


def test_the_limit_holds_for_every_other_body_too(operator):
    for path in ["/v1/missions", "/v1/requests", "/v1/uploads", "/v1/nothing"]:
        assert operator.post(path, content=b"[" * 1_000_001).status_code == 413, path


def test_a_body_that_never_ends_is_given_up(talk, path, app, monkeypatch):
    monkeypatch.setattr(application, "BODY_SECONDS", 0.3)
    connection = talk(f"POST {path} HTTP/1.1", "Content-Length: 100")
    connection.sendall(b"x")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_a_sender_that_goes_away_in_the_middle_leaves_the_others_alone(talk, path, anonymous):
    connection = talk(f"POST {path} HTTP/1.1", "Content-Length: 100")
    connection.sendall(b"x")
    connection.close()
    assert anonymous.get("/healthz").status_code == 200
