"""A cloud that takes every request and answers none costs its own robots their missions, and nobody else."""

import asyncio
from uuid import UUID

import pytest
from sqlmodel import select

from fleet.accounts import ManufacturerAccount
from fleet.adapter import Unknown
from fleet.robots import Robot
from missions import recovery
from missions.models import Attempt, OutboxMessage
from orchestration.dispatcher import Dispatcher
from orchestration.lanes import Lanes

PATIENCE_S = 30.0
SILENT, ALIVE = UUID(int=101), UUID(int=102)


@pytest.fixture
async def silent_cloud():
    """The address of a server that accepts and never says a word."""
    open_ones = []

    async def take(reader, writer) -> None:
        open_ones.append(writer)
        await reader.read()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in open_ones:
        writer.close()
    server.close()


@pytest.fixture
def fleet(yard, runtime, world, silent_cloud):
    """Five robots behind the silent cloud with an order each, and after them amr-01 elsewhere with one, too."""
    with runtime.transaction() as session:
        account = ManufacturerAccount(
            organisation_id=world.organisation.id,
            name="silent",
            manufacturer="simulated",
            base_url=silent_cloud,
            credential="c",
            webhook_secret="",
            created_at=yard.clock.now(),
        )
        session.add(account)
        session.flush()
        for number in range(5):
            name = f"mute-{number}"
            world.robots[name] = Robot(
                organisation_id=world.organisation.id,
                site_id=world.site.id,
                account_id=account.id,
                name=name,
                serial_number=name,
                capabilities=["drive", "inspect"],
                created_at=yard.clock.now(),
            )
            session.add(world.robots[name])
    for number in range(5):
        yard.request(f"m{number}", robot=f"mute-{number}")
        yard.assign(f"mute-{number}")
    yard.request("other", robot="amr-01")
    yard.assign("amr-01")
    return account


def _tried(runtime) -> set[str]:
    query = select(Robot.name).join(OutboxMessage, OutboxMessage.robot_id == Robot.id).where(OutboxMessage.tries > 0)
    with runtime.reading() as session:
        return set(session.exec(query).all())


async def test_a_silent_cloud_leaves_lanes_for_the_robots_of_others(runtime, fleet):
    dispatcher = Dispatcher(runtime)
    dispatcher.lanes = Lanes(dispatcher.wake.set, width=4, share=2)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while "amr-01" not in _tried(runtime):
                await dispatcher.turn()
                await asyncio.sleep(0.02)
        assert len(_tried(runtime) - {"amr-01"}) == 2
        assert dispatcher.lanes.crowded == {fleet.id}
    finally:
        await dispatcher.close()


async def test_nobody_is_asked_in_vain_while_the_lanes_of_its_account_are_taken(yard, runtime, fleet, clock):
    for parcel in yard.begin():
        yard.settle(parcel, Unknown(why="no answer"))
    clock.step(6)
    with runtime.reading() as session:
        ours = session.exec(select(Robot.id).where(Robot.account_id == fleet.id)).all()
    with runtime.transaction() as session:
        (only,) = recovery.questions(session, crowded=[fleet.id])
        assert only.robot_id not in ours
    with runtime.transaction() as session:
        asked = recovery.questions(session, busy=ours[:3])
        assert {question.robot_id for question in asked} == set(ours[3:])
    with runtime.reading() as session:
        silent = session.exec(select(Attempt.robot_id).where(Attempt.asked_at.is_(None))).all()
    assert set(silent) == set(ours[:3]), "who was not asked may be asked at once when a lane is free"


async def test_an_account_has_its_share_of_lanes_and_gets_it_back():
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    lanes = Lanes(lambda: None, width=10, share=2)
    begun = [lanes.start(UUID(int=number), wait, account=SILENT) for number in range(4)]
    assert begun == [True, True, False, False]
    assert lanes.crowded == {SILENT}
    assert lanes.start(UUID(int=9), wait, account=ALIVE)
    assert lanes.start(UUID(int=10), wait), "work of no account counts for none"
    gate.set()
    await lanes.idle()
    assert (lanes.crowded, lanes.free) == (frozenset(), 10)


async def test_what_is_left_to_do_after_an_answer_takes_nothing_of_the_accounts_share():
    settled = asyncio.Event()
    lanes = Lanes(lambda: None, share=1)
    assert lanes.start(UUID(int=1), settled.wait, account=SILENT)
    assert not lanes.start(UUID(int=2), settled.wait, account=SILENT)
    lanes.answered(UUID(int=1))
    assert lanes.start(UUID(int=2), settled.wait, account=SILENT)
    assert not lanes.start(UUID(int=1), settled.wait, account=SILENT), "the robot's lane is taken until all is done"
    settled.set()
    await lanes.idle()
    assert lanes.room.take(UUID(int=1), SILENT)


async def test_the_share_of_an_account_is_free_again_after_an_error():
    async def fail() -> None:
        raise LookupError("no such thing")

    lanes = Lanes(lambda: None, share=1)
    assert lanes.start(UUID(int=1), fail, account=SILENT)
    await lanes.idle()
    await asyncio.sleep(0)
    assert lanes.start(UUID(int=2), fail, account=SILENT)
    await lanes.idle()
