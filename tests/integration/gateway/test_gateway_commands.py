"""A gateway does what it is asked once, one thing at a time for each robot, and nothing new when its lease is over."""

import asyncio

import pytest

from fleet.adapter import Accepted, Acknowledged, Order, OrderReport, Refused, Unknown, Unsupported
from fleet.clock import SteppableClock, SystemClock
from fleet.errors import Conflict, Unavailable
from fleet.journal import JournalFile
from fleet.link_frames import Command, Discovered, Missing, ServedAccount, from_platform
from fleet.push import Exposure, Inheritance
from orchestration.gateway.accounts import Account
from orchestration.gateway.commands import ANSWERS_KEPT_BYTES, WAITING_MAX, Commands, Leases

HELD = ("a", "/amr-01")


@pytest.fixture
def clock() -> SteppableClock:
    """For the leases only."""
    return SteppableClock(SystemClock().now())


async def test_robots_that_are_given_while_a_link_is_being_opened_are_held_too(yard, tmp_path):
    file, may_go_on = JournalFile(tmp_path / "j.db"), asyncio.Event()
    served = ServedAccount(id="a", name="robots", manufacturer="scripted", url="x")
    account = Account(served, file, tell=lambda *_: None, clock=SystemClock())
    told: list[frozenset[str]] = []

    async def hold(_, serial_numbers):
        told.append(serial_numbers)
        await may_go_on.wait()

    yard.hold = hold
    running = asyncio.create_task(account.run())
    async with asyncio.timeout(5):
        while not told:  # noqa: ASYNC110  what is waited for is a list
            await asyncio.sleep(0.005)
        account.hold({HELD[1]: 1})
        may_go_on.set()
        while told[-1] != frozenset({HELD[1]}):  # noqa: ASYNC110  what is waited for is a list
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    file.close()
    assert told == [frozenset(), frozenset({HELD[1]})]


@pytest.fixture
async def desk(yard, clock, tmp_path):
    """Commands of a gateway that holds /amr-01 for 15 s, and what it answered."""

    class Desk:
        def ask(self, what: str, **values) -> str:
            name = str(values.pop("id", len(self.asked)))
            self.asked.append(name)
            given = {"id": name, "what": what, "account": "a", "address": HELD[1], "within_s": 5.0}
            self.commands.take(Command.model_validate({**given, **values}))
            return name

        async def outcome(self, what: str, **values):
            name = self.ask(what, **values)
            async with asyncio.timeout(10):
                while name not in self.answers:  # noqa: ASYNC110  what is waited for is told by a plain call
                    await asyncio.sleep(0.005)
            return self.answers.pop(name).outcome

    desk = Desk()
    desk.asked, desk.answers = [], {}
    file = JournalFile(tmp_path / "j.db")
    account = Account(
        ServedAccount(id="a", name="robots", manufacturer="scripted", url="x"),
        file,
        tell=lambda *_: None,
        clock=SystemClock(),
    )
    account.hold({HELD[1]: 1})
    desk.account, desk.leases = account, Leases(clock)
    desk.leases.hold(frozenset({HELD}))
    desk.leases.renew(15.0)
    desk.commands = Commands({"a": account}, desk.leases, lambda said: desk.answers.update({said.id: said}))
    running = asyncio.create_task(account.run())
    async with asyncio.timeout(5):
        while account.adapter is None:  # noqa: ASYNC110  what is waited for is an attribute
            await asyncio.sleep(0.005)
    yield desk
    running.cancel()
    await asyncio.gather(running, desk.commands.close(), return_exceptions=True)
    file.close()


def _order(key: str, *, fence: int = 1) -> dict:
    order = Order(key=key, fence=fence, serial_number=HELD[1], mission_id="m", tasks=())
    return {"key": key, "fence": fence, "order": order}


async def test_the_same_command_again_gets_the_same_answer_and_is_not_done_again(desk, yard):
    assert await desk.outcome("submit", id="c", **_order("m/1")) == Accepted(reference="r")
    assert await desk.outcome("submit", id="c", **_order("m/1")) == Accepted(reference="r")
    assert await desk.outcome("cancel", id="d", key="m/1") == Acknowledged()
    assert await desk.outcome("cancel", id="d", key="m/1") == Acknowledged()
    assert (yard.submitted, yard.cancelled) == (["m/1"], ["m/1"])


async def test_an_answer_that_no_frame_holds_is_unknown_with_its_size(desk, yard, monkeypatch):
    async def exposure(serial_number):
        return Exposure(serial_number=serial_number, link="dds", facts={"words": "\u00e4" * 600_000})

    monkeypatch.setattr(yard.adapter, "exposure", exposure)
    assert "the answer has 1200" in (await desk.outcome("exposure")).why


async def test_answers_that_are_kept_in_case_they_are_asked_for_again_are_bounded_in_bytes(desk, yard, monkeypatch):
    asked = []

    async def exposure(serial_number):
        asked.append(serial_number)
        return Exposure(serial_number=serial_number, link="dds", facts={"words": "x" * 900_000})

    monkeypatch.setattr(yard.adapter, "exposure", exposure)
    names = [f"c{number}" for number in range(9)]  # 8.1 MB
    for name in (*names, names[-1], names[0]):
        assert isinstance(await desk.outcome("exposure", id=name), Exposure)
    assert len(asked) == len(names) + 1, "the newest is remembered, and the oldest was asked about anew"
    assert desk.commands._answered_bytes <= ANSWERS_KEPT_BYTES


async def test_the_largest_mission_there_is_comes_over_the_line():
    order = Order(key="m/1", fence=1, serial_number="/amr-01", mission_id="\u00e4" * 700_000, tasks=())
    command = Command(id="c", what="submit", account="a", within_s=1.0, order=order)
    assert from_platform(command.model_dump_json().encode()) == command


async def test_a_command_that_comes_again_while_it_is_done_is_answered_once(desk, yard):
    yard.goes_on.clear()
    for _ in range(2):
        desk.ask("submit", id="c", **_order("m/1"))
    async with asyncio.timeout(5):
        await yard.adapter.reached.wait()
    yard.goes_on.set()
    assert await desk.outcome("query", key="m/1") is not None
    assert yard.submitted == ["m/1"]


async def test_nothing_new_begins_when_the_lease_is_over_but_questions_are_answered(desk, yard, clock):
    clock.step(15.0)
    outcome = await desk.outcome("submit", **_order("m/1"))
    assert isinstance(outcome, Unknown)
    assert "out of touch" in outcome.why
    assert isinstance(await desk.outcome("query", key="m/1"), OrderReport)
    desk.leases.renew(clock.monotonic() + 15.0)
    assert isinstance(await desk.outcome("submit", **_order("m/1")), Accepted)


async def test_a_robot_that_another_gateway_holds_is_not_commanded(desk, yard):
    desk.leases.hold(frozenset())
    outcome = await desk.outcome("submit", **_order("m/1"))
    assert outcome == Unknown(why="this gateway does not hold the robot", is_unsent=True)
    assert yard.submitted == []


async def test_that_nothing_was_sent_is_not_said_of_an_order_that_was_let_in_before(desk, yard):
    assert isinstance(await desk.outcome("submit", **_order("m/1")), Accepted)
    desk.account.adapter = None
    known, new = [await desk.outcome("submit", **_order(key)) for key in ("m/1", "m/2")]
    assert (known.is_unsent, new.is_unsent) == (False, True)
    assert (known.why, yard.submitted) == (new.why, ["m/1"])


async def test_an_older_fence_is_refused(desk, yard):
    await desk.outcome("submit", **_order("m/2", fence=5))
    outcome = await desk.outcome("submit", **_order("m/1", fence=4))
    assert isinstance(outcome, Refused)
    assert "fence 5" in outcome.reason


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Conflict("too old"), Unsupported(reason="too old")),
        (Unavailable("away"), Unknown(why="away")),
        (KeyError("x"), Unknown(why="the link to the robot failed: KeyError: 'x'")),
        (ZeroDivisionError("y"), Unknown(why="the link to the robot failed: ZeroDivisionError: y")),
    ],
)
async def test_whatever_an_adapter_raises_is_a_typed_answer(desk, yard, monkeypatch, error, outcome):
    async def fails(*_):
        raise error

    monkeypatch.setattr(yard.adapter, "pause", fails)
    assert await desk.outcome("pause", key="m/1") == outcome


async def test_a_robot_that_never_answers_is_unknown_in_time_and_delays_no_other(desk, yard):
    yard.goes_on.clear()
    desk.ask("submit", id="slow", within_s=0.3, **_order("m/1"))
    assert isinstance(await desk.outcome("query", address="/amr-02", key="m/9"), OrderReport)
    outcome = await desk.outcome("submit", id="slow", **_order("m/1"))
    assert isinstance(outcome, Unknown)
    assert "did not answer" in outcome.why


async def test_too_many_commands_for_one_robot_are_answered_at_once(desk, yard):
    yard.goes_on.clear()
    for number in range(WAITING_MAX):
        desk.ask("submit", **_order(f"m/{number}"))
    await asyncio.sleep(0)
    outcome = await desk.outcome("pause", key="m/1")
    assert outcome == Unknown(why="too many commands wait for this robot at the gateway")
    yard.goes_on.set()


async def test_what_is_seen_and_what_is_exposed_are_told_also_of_robots_that_are_not_held(desk):
    assert isinstance(await desk.outcome("discover", address=""), Discovered)
    assert await desk.outcome("exposure", address="nobody") == Missing(why="No robot 'nobody' is seen.")


async def test_an_account_that_is_not_served_is_unknown(desk):
    assert await desk.outcome("query", account="b") == Unknown(why="this gateway does not serve the account")


INHERITED = Inheritance(since_s=20.0, done=(0,), is_begun=True)


@pytest.mark.parametrize("what", ["submit", "query", "cancel", "pause", "resume"])
async def test_an_order_that_another_gateway_may_have_begun_is_inherited_before_anything_else(desk, yard, what):
    await desk.outcome(what, **_order("m/1"), inheritance=INHERITED)
    assert yard.inherited == [("m/1", INHERITED)]


@pytest.mark.parametrize("what", ["submit", "query", "cancel", "pause", "resume"])
async def test_nothing_is_done_about_an_order_of_which_it_is_not_certain_how_it_stands(desk, yard, what):
    yard.doubt = Unknown(why="the robot lists no goal of it")
    assert await desk.outcome(what, **_order("m/1"), inheritance=INHERITED) == yard.doubt
    assert (yard.submitted, yard.cancelled) == ([], [])


async def test_an_order_that_is_not_remembered_is_not_said_never_to_have_come(desk, yard):
    assert isinstance(await desk.outcome("query", key="m/1", inheritance=INHERITED), Unknown)


async def test_without_a_lease_nothing_is_inherited_and_nothing_said_of_it(desk, yard, clock):
    clock.step(15.0)
    assert isinstance(await desk.outcome("query", **_order("m/1"), inheritance=INHERITED), Unknown)
    assert yard.inherited == []


async def test_a_robot_that_another_gateway_held_meanwhile_is_begun_anew_without_what_was_remembered(desk, yard, until):
    account = desk.account
    account.journal.admit(_order("m/1")["order"])
    account.hold({HELD[1]: 2})
    await until(lambda: yard.held[1:] == [frozenset(), frozenset({HELD[1]})])
    assert account.journal.entry("m/1") is None
