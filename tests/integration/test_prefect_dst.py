"""How Prefect's own schedules differ from ours at changes of the clock: what docs/operators.md tells operators."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule

from missions.calendars import occurrences

BERLIN = ZoneInfo("Europe/Berlin")
MARCH, OCTOBER = datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)
pytestmark = pytest.mark.proof


def _ours(rule: str, night: datetime, begins: datetime | None = None) -> list[str]:
    begins = begins or night.replace(tzinfo=None)
    found = occurrences(
        rule,
        dtstart=begins,
        timezone="Europe/Berlin",
        after=night.astimezone(UTC) - timedelta(seconds=1),
        before=(night + timedelta(hours=4)).astimezone(UTC),
    )
    return _local(found)


async def _prefects(schedule: CronSchedule | RRuleSchedule, night: datetime) -> list[str]:
    end = night + timedelta(hours=4) - timedelta(seconds=1)
    return _local(await schedule.get_dates(n=50, start=night, end=end))


def _local(instants: list[datetime]) -> list[str]:
    return [f"{instant.astimezone(BERLIN):%H:%M%z}" for instant in instants]


async def test_a_local_time_that_does_not_exist_is_an_hour_early_in_prefect_and_by_the_offset_before_here():
    cron = CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert await _prefects(cron, MARCH) == ["01:30+0100"]
    assert _ours("30 2 * * *", MARCH) == ["03:30+0200"]
    rrule = RRuleSchedule(rrule="DTSTART:20260301T023000\nRRULE:FREQ=DAILY", timezone="Europe/Berlin")
    assert await _prefects(rrule, MARCH) == ["01:30+0100"]
    assert _ours("FREQ=DAILY", MARCH, datetime(2026, 3, 1, 2, 30)) == ["03:30+0200"]


@pytest.mark.parametrize(("rule", "here", "there"), [("0 * * * *", 5, 4), ("*/30 * * * *", 10, 8)])
async def test_the_hour_that_comes_twice_is_lost_in_prefect_and_kept_here(rule: str, here: int, there: int):
    kept, known = _ours(rule, OCTOBER), await _prefects(CronSchedule(cron=rule, timezone="Europe/Berlin"), OCTOBER)
    assert (len(kept), len(known)) == (here, there)
    assert set(kept) - set(known) == {time for time in kept if time.startswith("02:") and time.endswith("+0100")}


async def test_a_daily_time_that_comes_twice_happens_once_in_both():
    cron = CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert await _prefects(cron, OCTOBER) == _ours("30 2 * * *", OCTOBER) == ["02:30+0200"]


async def test_prefect_does_not_leave_out_an_exdate_in_utc_and_we_do():
    left_out = datetime(2026, 3, 3, 5, tzinfo=UTC)
    rrule = "DTSTART:20260301T060000\nRRULE:FREQ=DAILY\nEXDATE:20260303T050000Z"
    known = await RRuleSchedule(rrule=rrule, timezone="Europe/Berlin").get_dates(
        n=4, start=datetime(2026, 3, 1, tzinfo=UTC)
    )
    assert left_out in known
    ours = occurrences(
        "FREQ=DAILY", dtstart=datetime(2026, 3, 1, 6), timezone="Europe/Berlin", limit=4, exdates=[left_out]
    )
    assert left_out not in ours
