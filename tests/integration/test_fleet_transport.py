"""Calls to others, over real sockets to one who answers as told."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from fleet import transport as subject
from fleet.errors import Invalid, Rejected, Unavailable
from fleet.transport import BODY_MAX_BYTES, open_transport, probe

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def said(status: str, body: bytes = b"", *more: str) -> bytes:
    """The bytes of an answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more])
    return head.encode() + b"\r\n\r\n" + body


class Other:
    """One who keeps what it is sent and answers with the same bytes each time."""

    def __init__(self, answer: bytes, *, goes_on_with: bytes = b"", hangs_up: bool = False) -> None:
        self.answer = answer
        self.goes_on_with = goes_on_with
        self.hangs_up = hangs_up
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append((first.removesuffix(" HTTP/1.1"), headers, body))
                writer.write(self.answer)
                while self.goes_on_with:
                    writer.write(self.goes_on_with)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.hangs_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
def other():
    """Opens the one who answers, and a transport to it."""

    @asynccontextmanager
    async def talk(answer: bytes, *, timeout_s: float = 5.0, below: str = "", headers=None, **how):
        told = Other(answer, **how)
        server = await asyncio.start_server(told.take, "127.0.0.1", 0)
        told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with open_transport(told.url + below, timeout_s=timeout_s, headers=headers) as transport:
                yield transport, told
        finally:
            server.close()

    return talk


async def test_an_answer_carries_status_body_and_headers(other):
    async with other(said("404 Not Found", b"none", "X-Reason: gone")) as (transport, _):
        answer = await transport.call("GET", "/robots")
    assert (answer.status, answer.body, answer.headers["x-reason"]) == (404, b"none", "gone")


async def test_json_raw_bytes_and_headers_reach_the_other_side(other):
    async with other(NO_CONTENT, headers={"Authorization": "Bearer t"}) as (transport, told):
        await transport.call("POST", "/orders", content={"key": "m/1", "name": "ö"}, headers={"x-id": "1"})
        await transport.call("PUT", "/parts/1", body=b"\x00\x01")
    (first, headers, body), (second, headers_of_second, raw) = told.seen
    assert (first, body, headers["x-id"]) == ("POST /orders", '{"key":"m/1","name":"ö"}'.encode(), "1")
    assert headers["content-type"] == "application/json"
    assert (second, raw, "content-type" in headers_of_second) == ("PUT /parts/1", b"\x00\x01", False)
    assert [headers["authorization"], headers_of_second["authorization"]] == ["Bearer t"] * 2


async def test_what_is_escaped_in_a_path_stays_so(other):
    async with other(NO_CONTENT, below="/api/") as (transport, told):
        await transport.call("GET", "/units/SN%2F1%20a%25/jobs?token=m%2B1&b=%26")
    assert told.seen[0][0] == "GET /api/units/SN%2F1%20a%25/jobs?token=m%2B1&b=%26"


async def test_a_whole_address_is_taken_as_it_is(other):
    async with other(NO_CONTENT, below="/api") as (transport, told):
        await transport.call("POST", f"{told.url}/v1/webhooks/1", body=b"{}")
    assert told.seen[0][0] == "POST /v1/webhooks/1"


async def test_calls_one_after_the_other_share_a_connection(other):
    async with other(said("200 OK", b"{}")) as (transport, told):
        for _ in range(5):
            await transport.call("GET", "/robots")
    assert told.connections == 1


async def test_a_redirection_is_an_answer_and_not_followed(other):
    async with other(said("302 Found", b"", "Location: /elsewhere")) as (transport, told):
        assert (await transport.call("GET", "/robots")).status == 302
    assert len(told.seen) == 1


async def test_a_cookie_is_not_sent_back(other):
    async with other(said("200 OK", b"", "Set-Cookie: a=b")) as (transport, told):
        for _ in range(2):
            await transport.call("GET", "/robots")
    assert "cookie" not in told.seen[1][1]


@pytest.mark.parametrize("status", ["429 Slow Down", "500 Broken", "502 Bad Gateway", "503 Later"])
async def test_a_server_in_trouble_is_unavailable(other, status):
    async with other(said(status)) as (transport, _):
        with pytest.raises(Unavailable, match=status[:3]):
            await transport.call("GET", "/robots")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"what is this\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
    ],
    ids=["none", "half", "nonsense", "not packed"],
)
async def test_no_answer_or_a_broken_one_is_unavailable(other, broken):
    async with other(broken, hangs_up=True) as (transport, _):
        with pytest.raises(Unavailable, match="got no answer"):
            await transport.call("POST", "/robots")


async def test_where_nobody_listens_is_unavailable(other):
    async with other(NO_CONTENT) as (_, told):
        gone = told.url
    async with open_transport(gone) as transport:
        with pytest.raises(Unavailable, match="got no answer"):
            await transport.call("GET", "/robots")


async def test_a_line_break_in_a_credential_reaches_nobody(other):
    async with other(NO_CONTENT, headers={"Authorization": "Bearer a\r\nX-Admin: 1"}) as (transport, told):
        with pytest.raises(Unavailable, match="got no answer"):
            await transport.call("GET", "/robots")
    assert told.seen == []


async def test_a_call_is_over_at_its_deadline_however_slowly_the_answer_drips(other):
    dripping = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with other(dripping, goes_on_with=b"1\r\n.\r\n", timeout_s=0.02) as (transport, _):
        with pytest.raises(Unavailable, match="TimeoutError"):
            await transport.call("GET", "/robots")


async def test_an_answer_beyond_the_limit_is_rejected_without_keeping_it(other, monkeypatch):
    monkeypatch.setattr(subject, "BODY_MAX_BYTES", 100_000)
    flood = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with other(flood, goes_on_with=b"400\r\n" + bytes(0x400) + b"\r\n") as (transport, _):
        with pytest.raises(Rejected, match="more than 100000 bytes"):
            await transport.call("GET", "/robots")
    assert BODY_MAX_BYTES == 16_000_000


@pytest.mark.parametrize("address", ["", "other.test", "ftp://other.test", "http://", "http://other.test:door"])
async def test_what_is_no_address_is_invalid(address):
    with pytest.raises(Invalid, match="no address"):
        async with open_transport(address):
            pass


async def test_a_probe_tells_the_status_or_that_nobody_answers(other):
    async with other(said("503 Later", b"")) as (_, told):
        assert await asyncio.to_thread(probe, f"{told.url}/readyz") == 503
        gone = told.url
    assert await asyncio.to_thread(probe, gone) is None
