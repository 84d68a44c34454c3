"""Calls to others, over an in-memory transport that answers as told."""

import asyncio

import httpx
import pytest

from fleet.errors import Invalid, Rejected, Unavailable
from fleet.transport import BODY_MAX_BYTES, Transport, open_transport


def transport_to(answer, *, deadline_s=5.0):
    client = httpx.AsyncClient(base_url="http://other.test", transport=httpx.MockTransport(answer))
    return Transport(client, deadline_s=deadline_s)


async def test_an_answer_carries_status_body_and_headers():
    transport = transport_to(lambda request: httpx.Response(404, content=b"none", headers={"x-reason": "gone"}))
    answer = await transport.call("GET", "/robots")
    assert (answer.status, answer.body, answer.headers["x-reason"]) == (404, b"none", "gone")


async def test_json_raw_bytes_and_headers_reach_the_other_side():
    seen = []

    async def keep(request):
        seen.append((request.method, request.url.path, await request.aread(), request.headers.get("x-id")))
        return httpx.Response(204)

    transport = transport_to(keep)
    await transport.call("POST", "/orders", content={"key": "m/1"}, headers={"x-id": "1"})
    await transport.call("PUT", "/parts/1", body=b"\x00\x01")
    assert seen == [("POST", "/orders", b'{"key":"m/1"}', "1"), ("PUT", "/parts/1", b"\x00\x01", None)]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_server_in_trouble_is_unavailable(status):
    transport = transport_to(lambda request: httpx.Response(status))
    with pytest.raises(Unavailable, match=str(status)):
        await transport.call("GET", "/robots")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError]
)
async def test_no_answer_or_a_broken_one_is_unavailable(error):
    def fail(request):
        raise error("broken", request=request)

    with pytest.raises(Unavailable, match=error.__name__):
        await transport_to(fail).call("GET", "/robots")


async def test_a_call_is_over_at_its_deadline_however_slowly_the_answer_drips():
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield b"."
                await asyncio.sleep(0)

    transport = transport_to(lambda request: httpx.Response(200, stream=Drip()), deadline_s=0.05)
    with pytest.raises(Unavailable, match="TimeoutError"):
        await transport.call("GET", "/robots")


async def test_an_answer_beyond_the_limit_is_rejected_without_keeping_it():
    class Flood(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield bytes(1_000_000)

    transport = transport_to(lambda request: httpx.Response(200, stream=Flood()))
    with pytest.raises(Rejected, match=str(BODY_MAX_BYTES)):
        await transport.call("GET", "/robots")


@pytest.mark.parametrize("address", ["", "other.test", "ftp://other.test", "http://", "http://other.test:door"])
async def test_what_is_no_address_is_invalid(address):
    with pytest.raises(Invalid, match="no address"):
        async with open_transport(address):
            pass
