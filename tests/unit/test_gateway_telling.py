"""What a gateway has to tell: newest wins for what is only seen, everything for what happened, one telling at a time."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from fleet.adapter import Activity, Happening, Observation, OrderReport, OrderStatus, Unknown
from fleet.clock import SystemClock
from fleet.journal import JournalFile
from fleet.link_frames import Answer, batches
from fleet.push import Endpoint, Exposure, Heard, Hearing, events_from, to_bytes
from orchestration.gateway.line import ANSWERS_MAX_BYTES, Address, Ears, Line
from orchestration.gateway.telling import Telling

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path):
    """An empty journal."""
    opened = JournalFile(tmp_path / "gateway.db")
    yield opened
    opened.close()


@pytest.fixture
async def told(file: JournalFile):
    """A telling, and a platform that acknowledges what it is told, as often as it is asked to."""

    class Platform:
        def __init__(self) -> None:
            self.telling = Telling(file, SystemClock())
            self.frames: asyncio.Queue = asyncio.Queue()

        async def say(self, frame) -> None:
            self.frames.put_nowait(frame)

        async def next(self):
            async with asyncio.timeout(5):
                frame = await self.frames.get()
            self.telling.acked(frame.key)
            return frame

        async def over_a_new_line(self, digests) -> None:
            await self.close()
            self.telling.anew(digests)
            self.carrying = asyncio.create_task(self.telling.carry(self.say))

        async def close(self) -> None:
            self.carrying.cancel()
            await asyncio.gather(self.carrying, return_exceptions=True)

    platform = Platform()
    platform.carrying = asyncio.create_task(platform.telling.carry(platform.say))
    yield platform
    await platform.close()


def _seen(x_m: float, **values) -> Observation:
    given = {"serial_number": "r", "observed_at": AT, "activity": Activity.idle, "x_m": x_m}
    return Observation.model_validate({**given, **values})


def _report(key: str) -> OrderReport:
    return OrderReport(key=key, serial_number="r", status=OrderStatus.running, observed_at=AT)


async def test_of_observations_only_the_newest_of_a_robot_is_told_and_the_others_are_counted(told):
    for x_m in range(50):
        told.telling.take("a", _seen(float(x_m)))
    frame = await told.next()
    assert [said.x_m for said in events_from(frame.reports.encode())] == [49.0]
    assert told.telling.passed_over == 49


async def test_what_a_robot_does_is_told_before_where_it_is(told):
    told.telling.take("a", _seen(1.0))
    await told.next()
    began = asyncio.get_running_loop().time()
    told.telling.take("a", _seen(1.0, activity=Activity.executing))
    await told.next()
    assert asyncio.get_running_loop().time() - began < 0.9  # a position alone waits for its second


async def test_reports_that_an_adapter_spooled_are_told_and_then_forgotten(told, file):
    file.spool("a", [to_bytes([_report("m/1")]), to_bytes([_report("m/2")])])
    frame = await told.next()
    assert [said.key for said in events_from(frame.reports.encode())] == ["m/1", "m/2"]
    assert frame.key.startswith("1-2-")
    told.telling.take("a", _seen(0.0))
    await told.next()
    assert file.waiting() == []


async def test_what_is_not_acknowledged_stays_in_the_journal(told, file):
    file.spool("a", [to_bytes([_report("m/1")])])
    async with asyncio.timeout(5):
        await told.frames.get()
    told.telling.acked("something else")
    assert len(file.waiting()) == 1


async def test_a_happening_is_spooled_before_it_is_told(told, file):
    told.telling.take("a", Happening(key="k", kind="component_failed", occurred_at=AT, serial_number="r"))
    frame = await told.next()
    assert [said.key for said in events_from(frame.reports.encode())] == ["k"]


async def test_a_report_that_cannot_be_read_goes_alone_and_stops_no_other(told, file):
    file.spool("a", [to_bytes([_report("m/1")]), b"nonsense", to_bytes([_report("m/2")])])
    frames = [(await told.next()).reports for _ in range(3)]
    assert "m/1" in frames[0]
    assert "m/2" in frames[2]


async def test_what_a_robot_exposes_is_measured_in_bytes_and_stops_nothing_when_too_large(told, file):
    large = Exposure(serial_number="r", link="dds", facts={"words": "\u00e4" * 600_000})
    told.telling.take("a", large)
    told.telling.take("a", _seen(1.0))
    assert (await told.next()).kind == "tell"


async def test_a_report_too_large_for_a_frame_is_dropped_and_stops_no_other(told, file):
    large = [_report("x" * 1_100_000), _report('"' * 300_000), _report("\u00e4" * 600_000)]
    file.spool("a", [*(to_bytes([one]) for one in large), to_bytes([_report("m/2")])])
    assert "m/2" in (await told.next()).reports


async def test_an_exposure_is_told_once_for_each_digest(told):
    exposure = Exposure(serial_number="r", link="dds", endpoints=(Endpoint(name="/go", kind="action", type="x"),))
    for said in (exposure, exposure, exposure.model_copy(update={"facts": {"distro": "jazzy"}})):
        told.telling.take("a", said)
        await asyncio.sleep(0)
    digests = [(await told.next()).exposure.digest]
    if digests == [exposure.digest]:  # it was told before the next came
        digests.append((await told.next()).exposure.digest)
    assert digests[-1] != exposure.digest
    told.telling.take("a", exposure.model_copy(update={"facts": {"distro": "jazzy"}}))
    told.telling.take("a", Heard(serial_number="r", hearing=Hearing.well, since=AT))
    assert (await told.next()).kind == "tell_heard"


async def test_over_a_new_line_only_what_the_platform_does_not_know_is_told_again(told):
    exposure = Exposure(serial_number="r", link="dds")
    told.telling.take("a", exposure)
    told.telling.take("a", Heard(serial_number="r", hearing=Hearing.well, since=AT))
    assert [(await told.next()).kind for _ in range(2)] == ["tell_heard", "tell_exposure"]
    await told.over_a_new_line({("a", "r"): exposure.digest})
    assert (await told.next()).kind == "tell_heard"
    await told.over_a_new_line({("a", "r"): ""})
    assert [(await told.next()).kind for _ in range(2)] == ["tell_heard", "tell_exposure"]


async def test_of_robots_that_are_no_longer_held_nothing_more_is_told(told):
    told.telling.take("a", _seen(1.0, serial_number="gone"))
    told.telling.take("a", _seen(1.0))
    told.telling.forget(frozenset({("a", "r")}))
    frame = await told.next()
    assert [said.serial_number for said in events_from(frame.reports.encode())] == ["r"]


def test_what_follows_each_other_of_one_account_goes_together():
    one, two = to_bytes([_report("1")]), to_bytes([_report("2"), _report("3")])
    account, body, count = batches([("a", one), ("a", b"[]"), ("a", two), ("b", one)])
    assert (account, count) == ("a", 3)
    assert [said.key for said in events_from(body)] == ["1", "2", "3"]


def test_a_batch_is_bounded_but_never_empty():
    large = to_bytes([_report("x" * 200_000)])
    assert batches([("a", large), ("a", large)])[2] == 1


async def test_numbers_that_come_again_with_a_journal_that_was_put_back_hide_no_report(told, file):
    file.spool("a", [to_bytes([_report("m/1")])])
    first = await told.next()
    file.spool("a", [to_bytes([_report("m/2")])])
    assert (await told.next()).key != first.key
    async with asyncio.timeout(5):
        while file.waiting():  # noqa: ASYNC110  a file has no bell
            await asyncio.sleep(0.01)
    with file.writing() as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 0")
    file.spool("a", [to_bytes([_report("m/3")])])
    again = await told.next()
    assert (again.key[:4], again.key != first.key) == ("1-1-", True)


async def test_a_happening_that_finds_the_journals_disk_full_is_told_once_there_is_room(told, file):
    file.rows("PRAGMA query_only = 1")
    with structlog.testing.capture_logs() as logs:
        told.telling.take("a", Happening(key="k", kind="component_failed", occurred_at=AT, serial_number="r"))
        async with asyncio.timeout(5):
            while not logs:  # noqa: ASYNC110  a log has no bell
                await asyncio.sleep(0.01)
    file.rows("PRAGMA query_only = 0")
    assert "component_failed" in (await told.next()).reports


async def test_answers_that_wait_for_the_line_are_bounded_in_bytes(file):
    ears = Ears(*[lambda *_: None] * 4)
    line = Line(Address("ws://127.0.0.1:1", "token", "j"), ears, Telling(file, SystemClock()), SystemClock())
    for number in range(20):
        line.answer(Answer(id=str(number), outcome=Unknown(why="x" * 900_000)))
    assert line._answers.qsize() == ANSWERS_MAX_BYTES // 900_000
