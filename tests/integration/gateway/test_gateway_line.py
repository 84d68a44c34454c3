"""The gateways' channel: who is let in, who is put out and why, and what a broken line costs."""

import asyncio
import contextlib
import json
import pkgutil
from contextlib import suppress

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from fleet import gateways, link_commands
from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, Unknown
from fleet.clock import SteppableClock, SystemClock
from fleet.errors import NotFound, Unauthorized, Unavailable
from fleet.journal import JournalFile
from fleet.link_commands import LinkCommand
from fleet.link_frames import DISPLACED, NONSENSE, SHUT_OUT, Hello, from_platform
from fleet.organisations import Principal, PrincipalKind, issue_token
from fleet.push import Hearing, to_bytes
from fleet.websocket import LineClosed, open_websocket
from ingestion.models import Delivery
from orchestration.gateway.accounts import Account
from orchestration.gateway.line import SHUT_OUT_S, Address, Line
from orchestration.gateway.process import Gateway

HELLO = Hello(protocol=1, journal="j").model_dump_json()


@pytest.fixture
def line(platform):
    """Dials in by hand with a token."""
    return lambda token=platform.token: open_websocket(platform.url, headers={"Authorization": f"Bearer {token}"})


def _order(key: str = "m/1", robot: str = "/amr-01") -> Order:
    return Order(key=key, fence=1, serial_number=robot, mission_id="m", tasks=())


async def _closed(line) -> LineClosed:
    with pytest.raises(LineClosed) as told:
        while True:
            await line.hear()
    return told.value


async def test_without_a_token_nobody_is_let_in(platform):
    with pytest.raises(Unauthorized, match="Bearer"):
        async with open_websocket(platform.url):
            pytest.fail("it was let in")


async def test_a_token_that_is_no_gateways_is_refused(platform, line):
    with platform.runtime.transaction() as session:
        someone = Principal(PrincipalKind.device, "robot", platform.world.organisation.id)
        token = issue_token(session, someone, now=platform.runtime.clock.now())
    with pytest.raises(Unauthorized, match="no gateway's"):
        async with line(token):
            pytest.fail("it was let in")


async def test_whoever_says_hello_is_told_whom_it_serves_and_holds(platform, line):
    async with line() as mine:
        await mine.say(HELLO)
        welcome, hold = from_platform(await mine.hear()), from_platform(await mine.hear())
    assert [(one.name, one.manufacturer, one.options) for one in welcome.accounts] == [
        ("robots", "scripted", {"speed": 1})
    ]
    assert {(one.address, one.epoch) for one in hold.robots} == {("/amr-01", 1), ("/amr-02", 1)}


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("{", NONSENSE, "no frame of the link"),
        ('{"kind":"hello","protocol":2,"journal":"j"}', NONSENSE, "protocol 1"),
        ('{"kind":"ping","number":1}', NONSENSE, "hello first"),
        ('{"kind":"launch"}', NONSENSE, "no frame of the link"),
    ],
)
async def test_nonsense_instead_of_a_hello_closes_the_line_with_the_reason(line, said, code, words):
    async with line() as mine:
        await mine.say(said)
        closed = await _closed(mine)
    assert closed.close_code == code
    assert words in closed.message


async def test_a_gateway_speaks_for_its_own_accounts_only(platform, line):
    foreign = {"kind": "tell", "key": "1", "account": str(platform.world.account.id), "reports": "[]"}
    async with line() as mine:
        await mine.say(HELLO)
        await mine.say(json.dumps(foreign))
        heard = [from_platform(await mine.hear()) for _ in range(3)]
    assert heard[2].key == "1"  # acknowledged, so that it is not told for ever
    assert _deliveries(platform) == 0


async def test_reports_of_an_account_that_is_served_no_more_keep_no_other_back(platform, yard, until):
    report = OrderReport(
        key="m/1", serial_number="/amr-01", status=OrderStatus.running, observed_at=platform.runtime.clock.now()
    )
    file = JournalFile(platform.folder / "journal.db")
    file.spool(str(platform.world.account.id), [to_bytes([report])])
    file.spool(str(platform.account.id), [to_bytes([report])])
    file.close()
    async with platform.dialled() as gateway:
        await until(lambda: _reports(platform) == 1)
        await until(lambda: gateway._file.waiting() == [])
        assert platform.link().epoch == 1


async def test_a_frame_that_is_too_large_closes_the_line_and_is_not_stored(platform, line):
    large = {"kind": "tell", "key": "1", "account": str(platform.account.id), "reports": "x" * 1_200_000}
    async with line() as mine:
        await mine.say(HELLO)
        with suppress(LineClosed):
            await mine.say(json.dumps(large))
        assert (await _closed(mine)).close_code == 1009
    with platform.runtime.reading() as session:
        assert session.exec(select(Delivery)).all() == []


async def test_a_second_line_of_a_gateway_displaces_the_first(line):
    async with line() as first:
        await first.say(HELLO)
        await first.hear()
        async with line() as second:
            await second.say(HELLO)
            await second.hear()
            assert (await _closed(first)).close_code == DISPLACED


async def test_a_gateway_that_is_displaced_once_is_there_again_soon(platform, line, until):
    async with platform.dialled() as gateway:
        await until(lambda: gateway._line._open is not None)
        async with line() as late:  # as a hello of its own that was read late
            await late.say(HELLO)
            await until(lambda: gateway._line._is_away)
            await until(lambda: not gateway._line._is_away, within_s=10.0)


def test_who_is_displaced_again_and_again_or_shut_out_rests_before_it_dials():
    clock = SteppableClock(SystemClock().now())
    line = Line(Address("ws://127.0.0.1:9/v1/link", "", "j"), None, None, clock)
    assert (line._rest_s(1006), line._rest_s(SHUT_OUT)) == (0.0, SHUT_OUT_S)
    rests = []
    for _ in range(3):
        rests.append(line._rest_s(DISPLACED))
        clock.step(SHUT_OUT_S)
    clock.step(2 * SHUT_OUT_S)
    assert [*rests, line._rest_s(DISPLACED)] == [0.0, SHUT_OUT_S, SHUT_OUT_S, 0.0]


async def test_a_revoked_gateway_is_put_out_with_its_next_breath(platform, line):
    async with line() as mine:
        await mine.say(HELLO)
        await mine.hear()
        with platform.runtime.transaction() as session:
            row = gateways.gateway_named(session, platform.world.organisation.id, "north")
            gateways.revoke(session, row, now=platform.runtime.clock.now())
        await mine.say('{"kind":"ping","number":1}')
        assert (await _closed(mine)).close_code == SHUT_OUT


async def test_whoever_has_the_old_token_is_put_out_when_a_new_one_is_given(platform, line):
    async with line() as mine:
        await mine.say(HELLO)
        await mine.hear()
        with platform.runtime.transaction() as session:
            row = gateways.gateway_named(session, platform.world.organisation.id, "north")
            gateways.renew_token(session, row, now=platform.runtime.clock.now())
        await mine.say('{"kind":"ping","number":1}')
        assert (await _closed(mine)).close_code == DISPLACED
    with pytest.raises(Unauthorized):
        async with line():
            pytest.fail("it was let in")


async def test_what_is_told_twice_under_one_key_is_stored_once(platform, line):
    said = json.dumps({"kind": "tell", "key": "7-9", "account": str(platform.account.id), "reports": "[]"})
    async with line() as mine:
        await mine.say(HELLO)
        for _ in range(2):
            await mine.say(said)
        heard = [from_platform(await mine.hear()).kind for _ in range(4)]
    assert heard == ["welcome", "hold", "ack", "ack"]
    with platform.runtime.reading() as session:
        assert [one.body for one in session.exec(select(Delivery)).all()] == [b"[]"]


async def test_a_command_that_no_gateway_can_get_is_unknown_at_once_and_leaves_no_row(platform, link):
    said = await link.submit(_order())
    assert said == Unknown(why="no gateway holds /amr-01 now; nothing was sent")
    with platform.runtime.reading() as session:
        assert session.exec(select(LinkCommand)).all() == []


async def test_what_is_asked_is_answered_through_the_gateway(platform, yard, link, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        assert await link.submit(_order()) == Accepted(reference="r")
        assert (await link.query("/amr-01", "m/1")).status is OrderStatus.succeeded
        assert (await link.query("/amr-01", "m/9")).status is OrderStatus.not_found
        assert [robot.serial_number for robot in await link.discover()] == ["stranger"]
        assert (await link.exposure("/amr-02")).endpoints[0].name == "//amr-02/go"
        with pytest.raises(NotFound, match="No robot 'nobody'"):
            await link.exposure("nobody")


async def test_many_commands_wait_beside_each_other(platform, yard, link, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        yard.goes_on.clear()
        waiting = [asyncio.create_task(link.submit(_order(f"m/{number}", "/amr-01"))) for number in range(3)]
        assert (await link.query("/amr-02", "m/9")).status is OrderStatus.not_found
        yard.goes_on.set()
        assert await asyncio.gather(*waiting) == [Accepted(reference="r")] * 3


async def test_what_was_not_answered_when_the_line_broke_is_answered_over_the_next(platform, yard, link, line, until):
    async with platform.dialled(journal="a.db"):
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        yard.goes_on.clear()
        waiting = asyncio.create_task(link.submit(_order()))
        await until(lambda: len(_commands(platform)) == 1)
        async with asyncio.timeout(5):
            await yard.adapter.reached.wait()
    yard.goes_on.set()  # the gateway ended before the robot answered; it begins again and is asked again
    async with platform.dialled(journal="a.db"):
        assert await waiting == Accepted(reference="r")
    assert yard.submitted == ["m/1"]


def _commands(platform):
    with platform.runtime.reading() as session:
        return session.exec(select(LinkCommand)).all()


async def test_reports_that_were_spooled_while_the_platform_was_away_come_later_once(platform, until):
    report = OrderReport(
        key="m/1",
        serial_number="/amr-01",
        status=OrderStatus.running,
        observed_at=platform.runtime.clock.now(),
    )
    async with platform.dialled() as gateway:
        for _ in range(3):
            await asyncio.to_thread(gateway._file.spool, str(platform.account.id), [to_bytes([report])])
        await until(lambda: _reports(platform) == 3)
        await until(lambda: gateway._file.waiting() == [])
    async with platform.dialled():
        await until(lambda: platform.link().epoch == 1)
    assert _reports(platform) == 3


def _reports(platform) -> int:
    with platform.runtime.reading() as session:
        bodies = [json.loads(one.body) for one in session.exec(select(Delivery)).all()]
    return sum(one["kind"] == "order" for body in bodies for one in body)


async def test_what_a_robot_exposes_is_told_when_it_changes_and_not_again(platform, yard, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().digest != "")
        told_at = platform.link().told_at
        again = await yard.adapter.exposure("/amr-01")
        yard.adapter.said.put_nowait(again)
        yard.adapter.said.put_nowait(yard.adapter.observation("/amr-01", x_m=1.0))
        await until(lambda: _deliveries(platform) >= 1)
        assert platform.link().told_at == told_at
        yard.adapter.said.put_nowait(again.model_copy(update={"facts": {"distro": "jazzy"}}))
        await until(lambda: platform.link().told_at > told_at)
    assert platform.link().exposure["facts"] == {"distro": "jazzy"}


def _deliveries(platform) -> int:
    with platform.runtime.reading() as session:
        return len(session.exec(select(Delivery)).all())


async def test_a_link_that_cannot_be_opened_is_told_and_opened_again(platform, yard, link, until):
    yard.fails_to_open = Unavailable("The broker at mqtt://x is away.")
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is Hearing.trouble)
        assert "The broker at mqtt://x is away." in platform.link().why
        why = "the link of robots is away: The broker at mqtt://x is away."
        assert await link.submit(_order()) == Unknown(why=why, is_unsent=True)
        yard.fails_to_open = None
        await until(lambda: platform.link().hearing is Hearing.well)
    assert yard.opened >= 2


async def test_a_link_that_fails_in_a_way_that_nobody_foresaw_is_opened_again_too(platform, yard, until):
    yard.fails_to_open = AssertionError("of a library")
    async with platform.dialled():
        await until(lambda: platform.link() is not None and "AssertionError: of a library" in platform.link().why)
        yard.fails_to_open = None
        await until(lambda: platform.link().hearing is Hearing.well)


async def test_a_gateway_that_cannot_even_open_a_link_again_ends_with_the_reason(platform, yard, monkeypatch):
    yard.fails_to_open = Unavailable("The broker is away.")
    monkeypatch.setattr(Account, "_note_trouble", lambda *_: [].pop())
    with contextlib.closing(JournalFile(platform.folder / "journal.db")) as file:
        gateway = Gateway(Address(platform.url, platform.token, "j"), file, SystemClock())
        with pytest.raises(IndexError):
            async with asyncio.timeout(15):
                await gateway.run()


@pytest.mark.parametrize("place", ["api.link.link_commands.open_commands", "orchestration.gateway_link._outcome"])
async def test_commands_and_answers_go_on_after_a_failure_that_nobody_foresaw(
    platform, yard, link, until, monkeypatch, place
):
    stumbled, real = [], pkgutil.resolve_name(place)

    def stumble(*given):
        if not stumbled:
            stumbled.append(given)
            raise KeyError(place)
        return real(*given)

    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is Hearing.well)
        monkeypatch.setattr(place, stumble)
        assert isinstance(await link.submit(_order()), Accepted)
    assert stumbled


async def test_an_answer_that_the_database_does_not_take_at_once_is_stored_a_moment_later(
    platform, yard, link, until, monkeypatch
):
    stumbled, real = [], link_commands.answer_commands

    def stumble(*given, **options):
        if len(stumbled) < 2:
            stumbled.append(given)
            raise OperationalError("UPDATE", {}, Exception("deadlock detected"))
        return real(*given, **options)

    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is Hearing.well)
        monkeypatch.setattr(link_commands, "answer_commands", stumble)
        assert isinstance(await link.submit(_order()), Accepted)
    assert len(stumbled) == 2


async def test_a_changed_account_is_opened_anew(platform, yard, until):
    async with platform.dialled():
        await until(lambda: yard.opened == 1)
        with platform.runtime.transaction() as session:
            row = session.get_one(type(platform.account), platform.account.id)
            row.options = {"speed": 2}
            session.add(row)
        await until(lambda: yard.opened == 2)
    assert yard.adapter.account.options == {"speed": 2}


async def test_a_gateway_out_of_touch_lets_go_of_robots_that_another_may_take_over_and_of_no_others(
    platform, yard, until, monkeypatch
):
    monkeypatch.setattr("orchestration.gateway.process.LAPSE_LOOK_S", 0.02)
    both = frozenset({"/amr-01", "/amr-02"})
    for is_shared in (False, True):
        yard.held.clear()
        async with platform.dialled() as gateway:
            await until(lambda: yard.held[-1:] == [both])
            gateway._leases._until = 0.0
            await until(lambda gateway=gateway: gateway._has_lapsed)
            held_now = set().union(*(account.held for account in gateway._accounts.values()))
            assert held_now == (set() if is_shared else both)
            gateway._renewed(gateway._clock.monotonic() + 60)
            await until(lambda: yard.held[-1] == both)
        if not is_shared:
            platform.add_gateway("south")
