"""Bodies: too large is refused without reading it all, declared, chunked or lying; too slow is refused too."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from api import app as application
from api import connection as bounds
from api.routes import uploads

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


def test_a_head_without_end_is_refused_and_not_kept(talk):
    connection = talk("GET /healthz HTTP/1.1", "X-One: 1")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    sent, answer = 0, b""
    connection.sendall(b"GET /healthz HTTP/1.1\r\n")
    try:
        while sent < MANY:
            connection.sendall(b"X-Long: " + PIECE + b"\r\n")
            sent += len(PIECE)
    except (BrokenPipeError, ConnectionResetError):
        answer = _answer(connection)
    assert sent < MANY
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


def test_one_header_without_end_is_refused_too(url, talk):
    connection = talk("GET /healthz HTTP/1.1")
    connection.recv(65_536)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: ")
    assert _push(connection, chunked=False) < MANY


def test_a_head_of_ordinary_size_is_taken_again_and_again_on_one_connection(anonymous):
    for _ in range(20):
        assert anonymous.get("/healthz", headers={"X-Trace": "x" * 5000}).status_code == 200


def test_a_large_body_is_no_head(device):
    upload = device.post("/v1/uploads", json={"filename": "a.mcap", "size": 3_000_000, "sha256": "0" * 64})
    part = f"{upload.headers['location']}/parts/1"
    assert [device.put(part, content=b"x" * 3_000_000).status_code for _ in range(2)] == [204, 204]


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: "])
def test_a_connection_on_which_no_request_comes_is_closed(url: str, monkeypatch, begun: bytes):
    monkeypatch.setattr(bounds, "HEAD_SECONDS", 0.2)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(begun)
        assert connection.recv(65_536) == b""


def test_slow_parts_of_one_organisation_hold_up_no_other(talk, client_of, device, stranger, monkeypatch):
    monkeypatch.setattr(uploads, "PARTS_AT_ONCE", 1)
    wanted = {"filename": "a.mcap", "size": 10, "sha256": "0" * 64}
    mine, theirs = (client.post("/v1/uploads", json=wanted).headers["location"] for client in (device, stranger))
    token = device.headers["authorization"]
    slow = talk(f"PUT {mine}/parts/1 HTTP/1.1", f"Authorization: {token}", "Content-Length: 10")
    slow.sendall(b"x")
    assert stranger.put(f"{theirs}/parts/1", content=b"x" * 10).status_code == 204
    slow.sendall(b"x" * 9)
    assert slow.recv(65_536).startswith(b"HTTP/1.1 204 ")
