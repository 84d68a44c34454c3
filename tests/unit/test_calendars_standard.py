"""The examples of RFC 5545, section 3.8.5.3, in its own words: DTSTART, rule and the local times it lists."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from missions.calendars import occurrences

# (DTSTART, rule, "year month days; month days; ..." as the standard lists them, how many where the rule ends)
DAILY_IN_JANUARY = [f"{year} 1 {' '.join(map(str, range(1, 32)))}" for year in (1998, 1999, 2000)]
EXAMPLES = [
    ("19970902T0900", "FREQ=DAILY;COUNT=10", "1997 9 2 3 4 5 6 7 8 9 10 11", 10),
    ("19970902T0900", "FREQ=DAILY;UNTIL=19971224T000000Z", "1997 9 2 3 4 5", 113),
    ("19970902T0900", "FREQ=DAILY;INTERVAL=2", "1997 9 2 4 6 8 10 12 14 16 18 20 22 24 26 28 30; 10 2 4", None),
    ("19970902T0900", "FREQ=DAILY;INTERVAL=10;COUNT=5", "1997 9 2 12 22; 10 2 12", 5),
    (
        "19980101T0900",
        "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
        "; ".join(DAILY_IN_JANUARY),
        93,
    ),
    ("19980101T0900", "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1", "; ".join(DAILY_IN_JANUARY), 93),
    ("19970902T0900", "FREQ=WEEKLY;COUNT=10", "1997 9 2 9 16 23 30; 10 7 14 21 28; 11 4", 10),
    ("19970902T0900", "FREQ=WEEKLY;UNTIL=19971224T000000Z", "1997 9 2 9 16 23 30; 10 7 14 21 28; 11 4", 17),
    (
        "19970902T0900",
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        "1997 9 2 16 30; 10 14 28; 11 11 25; 12 9 23; 1998 1 6 20; 2 3 17",
        None,
    ),
    (
        "19970902T0900",
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "1997 9 2 4 9 11 16 18 23 25 30; 10 2",
        10,
    ),
    ("19970902T0900", "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", "1997 9 2 4 9 11 16 18 23 25 30; 10 2", 10),
    (
        "19970901T0900",
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        "1997 9 1 3 5 15 17 19 29; 10 1 3 13 15 17 27 29 31; 11 10 12 14 24 26 28; 12 8 10 12 22",
        25,
    ),
    ("19970902T0900", "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", "1997 9 2 4 16 18 30; 10 2 14 16", 8),
    (
        "19970905T0900",
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        "1997 9 5; 10 3; 11 7; 12 5; 1998 1 2; 2 6; 3 6; 4 3; 5 1; 6 5",
        10,
    ),
    ("19970905T0900", "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR", "1997 9 5; 10 3; 11 7; 12 5", 4),
    (
        "19970907T0900",
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        "1997 9 7 28; 11 2 30; 1998 1 4 25; 3 1 29; 5 3 31",
        10,
    ),
    ("19970922T0900", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "1997 9 22; 10 20; 11 17; 12 22; 1998 1 19; 2 16", 6),
    ("19970928T0900", "FREQ=MONTHLY;BYMONTHDAY=-3", "1997 9 28; 10 29; 11 28; 12 29; 1998 1 29; 2 26", None),
    (
        "19970902T0900",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        "1997 9 2 15; 10 2 15; 11 2 15; 12 2 15; 1998 1 2 15",
        10,
    ),
    (
        "19970930T0900",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        "1997 9 30; 10 1 31; 11 1 30; 12 1 31; 1998 1 1 31; 2 1",
        10,
    ),
    (
        "19970910T0900",
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        "1997 9 10 11 12 13 14 15; 1999 3 10 11 12 13",
        10,
    ),
    (
        "19970902T0900",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        "1997 9 2 9 16 23 30; 11 4 11 18 25; 1998 1 6 13 20 27; 3 3 10 17 24 31",
        None,
    ),
    (
        "19970610T0900",
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        "1997 6 10; 7 10; 1998 6 10; 7 10; 1999 6 10; 7 10; 2000 6 10; 7 10; 2001 6 10; 7 10",
        10,
    ),
    (
        "19970310T0900",
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        "1997 3 10; 1999 1 10; 2 10; 3 10; 2001 1 10; 2 10; 3 10; 2003 1 10; 2 10; 3 10",
        10,
    ),
    (
        "19970101T0900",
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        "1997 1 1; 4 10; 7 19; 2000 1 1; 4 9; 7 18; 2003 1 1; 4 10; 7 19; 2006 1 1",
        10,
    ),
    ("19970519T0900", "FREQ=YEARLY;BYDAY=20MO", "1997 5 19; 1998 5 18; 1999 5 17", None),
    ("19970512T0900", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1997 5 12; 1998 5 11; 1999 5 17", None),
    (
        "19970313T0900",
        "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
        "1997 3 13 20 27; 1998 3 5 12 19 26; 1999 3 4 11 18 25",
        None,
    ),
    (
        "19970605T0900",
        "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        "1997 6 5 12 19 26; 7 3 10 17 24 31; 8 7 14 21 28; 1998 6 4 11 18 25; 7 2 9 16 23 30; 8 6 13 20 27",
        None,
    ),
    (
        "19970902T0900",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "1998 2 13; 3 13; 11 13; 1999 8 13; 2000 10 13",
        None,
    ),
    (
        "19970913T0900",
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        "1997 9 13; 10 11; 11 8; 12 13; 1998 1 10; 2 7; 3 7; 4 11; 5 9; 6 13",
        None,
    ),
    (
        "19961105T0900",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "1996 11 5; 2000 11 7; 2004 11 2",
        None,
    ),
    ("19970904T0900", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997 9 4; 10 7; 11 6", 3),
    (
        "19970929T0900",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        "1997 9 29; 10 30; 11 27; 12 30; 1998 1 29; 2 26; 3 30",
        None,
    ),
    ("19970805T0900", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997 8 5 10 19 24", 4),
    ("19970805T0900", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997 8 5 17 19 31", 4),
    ("20070115T0900", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007 1 15 30; 2 15; 3 15 30", 5),
]
TIMES = [
    # The standard says UNTIL=19970902T170000Z, which is 13:00 in New York; its erratum 3883 makes it 21:00Z.
    ("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z", "9:00 12:00 15:00", 3),
    ("FREQ=MINUTELY;INTERVAL=15;COUNT=6", "9:00 9:15 9:30 9:45 10:00 10:15", 6),
    ("FREQ=MINUTELY;INTERVAL=90;COUNT=4", "9:00 10:30 12:00 13:30", 4),
    ("FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40", "9:00 9:20 9:40 10:00 10:20 10:40 11:00", None),
    ("FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16", "9:00 9:20 9:40 10:00 10:20 10:40 11:00", None),
]
NEW_YORK = "America/New_York"


def _listed(days: str) -> list[datetime]:
    found, year = [], 0
    for group in days.split(";"):
        numbers = [int(number) for number in group.split()]
        if numbers[0] > 12:
            year = numbers.pop(0)
        found += [datetime(year, numbers[0], day, 9, tzinfo=ZoneInfo(NEW_YORK)) for day in numbers[1:]]
    return found


@pytest.mark.parametrize(("dtstart", "rule", "days", "count"), EXAMPLES, ids=[rule for _, rule, *_ in EXAMPLES])
def test_an_example_of_the_standard_gives_what_it_lists(dtstart, rule, days, count):
    begins, listed = datetime.fromisoformat(dtstart), _listed(days)
    assert occurrences(rule, dtstart=begins, timezone=NEW_YORK, limit=len(listed)) == listed
    if count is not None:
        assert len(occurrences(rule, dtstart=begins, timezone=NEW_YORK)) == count


@pytest.mark.parametrize(("rule", "times", "count"), TIMES, ids=[rule for rule, *_ in TIMES])
def test_an_example_of_times_in_a_day_gives_what_it_lists(rule, times, count):
    listed = [
        datetime(1997, 9, 2, int(hour), int(minute), tzinfo=ZoneInfo(NEW_YORK))
        for hour, minute in (time.split(":") for time in times.split())
    ]
    begins = datetime(1997, 9, 2, 9)
    assert occurrences(rule, dtstart=begins, timezone=NEW_YORK, limit=len(listed)) == listed
    if count is not None:
        assert len(occurrences(rule, dtstart=begins, timezone=NEW_YORK)) == count


def test_every_other_year_on_sundays_of_january_at_two_times():
    found = occurrences(
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=1;BYDAY=SU;BYHOUR=8,9;BYMINUTE=30",
        dtstart=datetime(1997, 1, 5, 8, 30),
        timezone=NEW_YORK,
        before=datetime(2000, 1, 1),
    )
    local = [instant.astimezone(ZoneInfo(NEW_YORK)).strftime("%y-%m-%d %H:%M") for instant in found]
    days = ["97-01-05", "97-01-12", "97-01-19", "97-01-26", "99-01-03", "99-01-10", "99-01-17", "99-01-24", "99-01-31"]
    assert local == [f"{day} {time}" for day in days for time in ("08:30", "09:30")]
