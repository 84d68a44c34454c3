"""What a gateway does first: its links are opened before the platform is there, and its robots held where that is safe."""

import asyncio
from contextlib import asynccontextmanager

from orchestration.gateway import line as line_of_gateways


async def test_a_gateway_that_begins_while_the_platform_is_away_goes_on_with_what_it_had(
    platform, yard, until, monkeypatch, unused_tcp_port
):
    monkeypatch.setattr("orchestration.gateway.process.ALONE_S", 0.1)
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
    yard.held.clear()
    async with platform.dialled(url=f"ws://127.0.0.1:{unused_tcp_port}/v1/link"):
        await until(lambda: frozenset({"/amr-01", "/amr-02"}) in yard.held)


async def test_a_gateway_that_begins_alone_opens_its_links_and_leaves_robots_that_another_may_have_taken_over(
    platform, yard, until, monkeypatch, unused_tcp_port
):
    monkeypatch.setattr("orchestration.gateway.process.ALONE_S", 0.0)
    platform.add_gateway("south")
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
    opened = yard.opened
    yard.held.clear()
    async with platform.dialled(url=f"ws://127.0.0.1:{unused_tcp_port}/v1/link") as gateway:
        await until(lambda: gateway._line._is_away and yard.opened == opened + 1 and yard.held)
        assert yard.held == [frozenset()]


async def test_links_are_opened_before_the_platform_is_there_and_not_again_when_it_is(
    platform, yard, until, monkeypatch
):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
    opened = yard.opened
    yard.held.clear()
    dials = asyncio.Event()
    real = line_of_gateways.open_websocket

    @asynccontextmanager
    async def late(*given, **options):
        await dials.wait()
        async with real(*given, **options) as line:
            yield line

    monkeypatch.setattr(line_of_gateways, "open_websocket", late)
    async with platform.dialled():
        await until(lambda: yard.held == [frozenset()])
        dials.set()
        await until(lambda: yard.held[-1] == frozenset({"/amr-01", "/amr-02"}))
    assert yard.opened == opened + 1


async def test_links_of_accounts_that_changed_meanwhile_are_opened_anew(platform, yard, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
    with platform.runtime.transaction() as session:
        row = session.get_one(type(platform.account), platform.account.id)
        row.options = {"speed": 3}
        session.add(row)
    async with platform.dialled():
        await until(
            lambda: yard.held[-1] == frozenset({"/amr-01", "/amr-02"}) and yard.adapter.account.options["speed"] == 3
        )
