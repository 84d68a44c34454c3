"""Which gateway has an order: what one may have begun the next inherits, and what it tells of it counts."""

import asyncio
import json
from contextlib import suppress
from datetime import timedelta

from sqlmodel import select, update

from fleet import gateways
from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, Unknown
from fleet.errors import Unavailable
from fleet.gateways import RobotLink
from fleet.journal import JournalFile
from fleet.push import Hearing, to_bytes
from ingestion.models import Delivery


def _order() -> Order:
    return Order(key="m/1", fence=1, serial_number="/amr-01", mission_id="m", tasks=())


def _reports(platform) -> int:
    with platform.runtime.reading() as session:
        bodies = [json.loads(one.body) for one in session.exec(select(Delivery)).all()]
    return sum(one["kind"] == "order" for body in bodies for one in body)


async def test_another_gateway_takes_over_when_the_first_is_gone_for_its_lease(platform, yard, until):
    token = platform.add_gateway("south")
    async with platform.dialled(journal="one.db"), platform.dialled(token=token, journal="two.db"):
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
    before = platform.link()
    with platform.runtime.transaction() as session:
        past = platform.runtime.clock.now() - timedelta(seconds=1)
        session.execute(update(RobotLink).values(expires_at=past, gateway_id=platform.gateway.id))
    async with platform.dialled(token=token, journal="two.db"):
        await until(lambda: platform.link().epoch == before.epoch + 1 and platform.link().hearing is not None)


async def test_a_gateway_with_another_journal_inherits_the_order_that_it_is_asked_about(platform, yard, link, until):
    async with platform.dialled(journal="one.db"):
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        await link.submit(_order())
        await link.query("/amr-01", "m/1")
    assert yard.inherited == []
    async with platform.dialled(journal="two.db"):
        await until(lambda: platform.link().epoch >= 2 and platform.link().hearing is not None)
        await link.query("/amr-01", "m/1")
        await link.cancel("/amr-01", "m/1", 1)
        await link.query("/amr-01", "m/9")
    assert [key for key, _ in yard.inherited] == ["m/1", "m/1"]
    assert 0 <= yard.inherited[0][1].since_s < 60


async def test_an_order_that_one_gateway_certainly_did_not_send_is_no_inheritance_for_the_next(
    platform, yard, link, until
):
    yard.fails_to_open = Unavailable("The broker at mqtt://x is away.")
    async with platform.dialled(journal="one.db"):
        await until(lambda: platform.link() is not None and platform.link().hearing is Hearing.trouble)
        assert (await link.submit(_order())).is_unsent
    yard.fails_to_open, yard.doubt = None, Unknown(why="it may have begun")
    async with platform.dialled(journal="two.db"):
        await until(lambda: platform.link().epoch >= 2 and platform.link().hearing is Hearing.well)
        assert isinstance(await link.submit(_order()), Accepted)
    assert (yard.inherited, yard.submitted) == ([], ["m/1"])


async def test_what_a_gateway_tells_of_an_order_that_it_was_handed_counts_also_when_it_serves_the_account_no_more(
    platform, yard, link, until
):
    async with platform.dialled() as gateway:
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        await link.submit(_order())
        await until(lambda: gateway._file.waiting() == [])
    before = _reports(platform)
    file = JournalFile(platform.folder / "journal.db")
    for key, robot in (("m/1", "/amr-01"), ("m/1", "/amr-02"), ("m/2", "/amr-01")):
        at = platform.runtime.clock.now()
        late = OrderReport(key=key, serial_number=robot, status=OrderStatus.succeeded, observed_at=at, sequence=9)
        file.spool(str(platform.account.id), [to_bytes([late])])
    file.close()
    platform.add_gateway("south")
    with platform.runtime.transaction() as session:
        gateways.assign(session, platform.gateway, [])
    async with platform.dialled() as gateway:
        await until(lambda: gateway._file.waiting() == [])
    assert _reports(platform) == before + 1, "of all three it was handed the one"


async def test_a_gateway_that_comes_back_with_its_journal_inherits_nothing(platform, yard, link, until):
    for _ in range(2):
        async with platform.dialled(journal="one.db"):
            await until(lambda: platform.link() is not None and platform.link().hearing is not None)
            await link.submit(_order())
    assert yard.inherited == []


async def test_an_order_that_went_out_under_another_lease_does_not_go_to_the_next_gateway_by_itself(
    platform, yard, link, until
):
    yard.goes_on.clear()
    async with platform.dialled(journal="one.db"):
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        submitting = asyncio.create_task(link.submit(_order()))
        async with asyncio.timeout(10):
            await yard.adapter.reached.wait()
    yard.goes_on.set()
    async with platform.dialled(journal="two.db"):
        await until(lambda: platform.link().epoch >= 2 and platform.link().hearing is not None)
        await link.query("/amr-01", "m/9")
        assert yard.submitted == []
        submitting.cancel()
        with suppress(asyncio.CancelledError):
            await submitting
