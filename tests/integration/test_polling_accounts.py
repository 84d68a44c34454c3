"""Polling: every page is kept once, the cursor moves with it, and an interruption repeats a page but loses none."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from fleet.accounts import ManufacturerAccount
from fleet.adapter import AdapterAccount, Page
from fleet.adapters import opener
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.errors import Unavailable
from fleet.events import Event
from fleet.runtime import Runtime
from fleet.states import RobotState
from ingestion import polling
from ingestion.models import Delivery
from ingestion.polling import poll
from orchestration.intake import drain

HISTORY = [(b"page 1", "c1"), (b"page 2", "c2"), (b"page 3", "c3")]


class Scripted:
    """The two questions that polling asks, answered from a script that may break off; `asked_after` keeps the cursors."""

    def __init__(self) -> None:
        self.status = b"status"
        self.history = list(HISTORY)
        self.breaks_at: int | None = None
        self.before_page: Callable[[int], None] = lambda _number: None
        self.asked_after: list[str] = []

    async def observe_all(self) -> Page:
        return Page(key="status", body=self.status, next_cursor="", is_last=True)

    async def pages(self, cursor: str) -> AsyncIterator[Page]:
        self.asked_after.append(cursor)
        known = [next_cursor for _, next_cursor in self.history]
        first = known.index(cursor) + 1 if cursor else 0
        for number in range(first, len(self.history)):
            if number == self.breaks_at:
                raise Unavailable("the cloud went away")
            self.before_page(number)
            body, following = self.history[number]
            yield Page(key=f"events/{number}", body=body, next_cursor=following, is_last=following == known[-1])


@pytest.fixture
def cloud() -> Scripted:
    return Scripted()


@pytest.fixture
def account(runtime: Runtime, world):
    """The account as it stands in the database."""

    def read() -> ManufacturerAccount:
        with runtime.reading() as session:
            return session.get_one(ManufacturerAccount, world.account.id)

    return read


@pytest.fixture
def poll_once(runtime: Runtime, cloud: Scripted, account):
    """Polls the scripted cloud from where the account stands."""
    return lambda: poll(account(), cloud, transaction=runtime.transaction, clock=runtime.clock)


@pytest.fixture
def bodies(runtime: Runtime):
    """What lies in the inbox, in order."""

    def read() -> list[bytes]:
        with runtime.reading() as session:
            return [row.body for row in session.exec(select(Delivery).order_by(Delivery.id)).all()]

    return read


async def test_the_state_of_all_robots_and_every_page_are_kept_raw(poll_once, bodies, account, clock):
    result = await poll_once()
    assert bodies() == [b"status", b"page 1", b"page 2", b"page 3"]
    assert (result.pages, result.deliveries, result.is_complete) == (4, 4, True)
    assert (account().cursor, account().polled_at) == ("c3", clock.now())


async def test_the_next_poll_goes_on_after_the_last_page(poll_once, cloud, bodies):
    await poll_once()
    cloud.history.append((b"page 4", "c4"))
    result = await poll_once()
    assert cloud.asked_after == ["", "c3"]
    assert bodies()[4:] == [b"page 4"]
    assert result.deliveries == 1


async def test_nothing_new_is_nothing_kept(poll_once, bodies):
    await poll_once()
    result = await poll_once()
    assert (result.pages, result.deliveries) == (1, 0)
    assert len(bodies()) == 4


async def test_another_state_under_the_same_name_is_kept_too(poll_once, cloud, bodies):
    await poll_once()
    cloud.status = b"status, later"
    await poll_once()
    assert bodies()[-1] == b"status, later"


async def test_after_a_break_the_pages_so_far_stand_and_none_is_lost(poll_once, cloud, bodies, account):
    cloud.breaks_at = 2
    with pytest.raises(Unavailable, match="went away"):
        await poll_once()
    assert account().cursor == "c2"
    cloud.breaks_at = None
    await poll_once()
    assert bodies() == [b"status", b"page 1", b"page 2", b"page 3"]


async def test_two_polls_at_once_keep_each_page_once_and_the_one_behind_stops(poll_once, cloud, bodies, runtime, world):
    def another_poll_is_faster(number: int) -> None:
        if number == 1:
            with runtime.transaction() as session:
                session.get_one(ManufacturerAccount, world.account.id).cursor = "c3"

    cloud.before_page = another_poll_is_faster
    result = await poll_once()
    assert result.pages == 2
    assert bodies() == [b"status", b"page 1"]


async def test_a_long_history_is_taken_in_several_polls(poll_once, bodies, account, monkeypatch):
    monkeypatch.setattr(polling, "PAGES_MAX", 1)
    result = await poll_once()
    assert (result.is_complete, account().cursor) == (False, "c1")
    assert "more is waiting" in str(result)
    await poll_once()
    await poll_once()
    assert bodies() == [b"status", b"page 1", b"page 2", b"page 3"]


@pytest.fixture
def site(tmp_path: Path):
    """A simulated site of two robots with one past life each, and an adapter linked to it."""

    @asynccontextmanager
    async def start():
        options = SiteOptions(robots=2, history_lives=1, credential="c-1", bags_dir=tmp_path / "site")
        async with running(options) as opened:
            link = AdapterAccount(name="cloud", base_url=opened.url, credential="c-1")
            async with opener("simulated")(link) as adapter:
                yield adapter

    return start


@pytest.fixture
def robots_of_the_site(runtime: Runtime, world):
    """Gives the world's robots the serial numbers of the simulated ones."""
    with runtime.transaction() as session:
        for number, robot in enumerate(world.robots.values(), start=1):
            session.merge(robot).serial_number = f"SIM-{number:04}"


async def test_a_real_site_is_polled_into_states_and_past_failures(runtime: Runtime, account, site, robots_of_the_site):
    async with site() as adapter:
        first = await poll(account(), adapter, transaction=runtime.transaction, clock=runtime.clock)
        drain(runtime)
        second = await poll(account(), adapter, transaction=runtime.transaction, clock=runtime.clock)
    with runtime.reading() as session:
        states, events = session.exec(select(RobotState)).all(), session.exec(select(Event)).all()
    assert len(states) == 2
    assert sorted({event.kind for event in events}) == ["component_failed", "component_replaced"]
    assert {event.robot_id for event in events} == {state.robot_id for state in states}
    assert first.is_complete
    assert second.deliveries <= 1  # at most the state has changed
