"""Which occurrences start after a delay, by the policy of their schedule."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missions.schedules.catch_up import Candidate, decide
from missions.schedules.models import Recurrence
from missions.schedules.recurrence import spread

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FIRST = NOON - timedelta(hours=5)
FIXED = UUID(int=7)


def _recurrence(**news: object) -> Recurrence:
    return Recurrence.model_validate(
        {"rule": "FREQ=HOURLY", "begins": "2026-03-01T00:00:00", "timezone": "UTC", "grace_s": 300} | news
    )


def _hourly(count: int, **news: object) -> list[Candidate]:
    return [Candidate(FIRST + timedelta(hours=hour), FIRST + timedelta(hours=hour), **news) for hour in range(count)]


def _decided(candidates: list[Candidate], **news: object) -> list[str]:
    return [one.status.value for one in decide(candidates, now=NOON, recurrence=_recurrence(**news))]


@pytest.mark.parametrize(
    ("policy", "of_the_late", "the_timely"),
    [
        ("skip", ["missed"] * 5, "fired"),
        ("run_once", ["missed"] * 4 + ["fired"], "fired"),
        ("coalesce", ["coalesced"] * 5, "fired"),
        ("all", ["missed"] * 2 + ["fired"] * 3, "fired"),
    ],
)
def test_of_five_late_ones_and_one_in_time_the_policy_starts_its_own(policy, of_the_late, the_timely):
    # 07:00 to 11:00 are late at noon, 12:00 is not.
    assert _decided(_hourly(6), misfire=policy, catch_up_max=3) == [*of_the_late, the_timely]


def test_one_that_is_late_by_exactly_its_grace_is_started():
    assert _decided(_hourly(5)[-1:], misfire="skip", grace_s=3600) == ["fired"]
    assert _decided(_hourly(5)[-1:], misfire="skip", grace_s=3599) == ["missed"]


def test_the_grace_begins_when_the_spread_of_the_jitter_is_over():
    assert _decided(_hourly(5)[-1:], misfire="skip", grace_s=0, jitter_s=3600) == ["fired"]


def test_one_whose_due_instant_has_not_come_waits():
    late_start = Candidate(NOON - timedelta(minutes=1), NOON + timedelta(minutes=1))
    assert _decided([late_start], jitter_s=120) == ["planned"]


def test_what_a_blackout_keeps_out_is_not_what_is_caught_up_with():
    candidates = [*_hourly(3), *[Candidate(one.recurrence_id, one.due_at, kept_out="closed") for one in _hourly(5)[3:]]]
    assert _decided(candidates, misfire="run_once") == ["missed", "missed", "fired", "skipped", "skipped"]


def test_what_could_not_begin_within_its_window_any_more_is_missed_and_says_so():
    decisions = decide(_hourly(5), now=NOON, recurrence=_recurrence(misfire="all", start_within_s=7200))
    assert [one.status.value for one in decisions] == ["missed"] * 4 + ["fired"]
    assert "7200 s" in decisions[0].reason


def test_a_moved_one_is_late_by_where_it_was_moved_to():
    moved = Candidate(FIRST, NOON - timedelta(minutes=4), is_moved=True)
    assert _decided([moved], misfire="skip") == ["fired"]


def test_a_coalesced_one_names_the_one_that_starts():
    decisions = decide(_hourly(6), now=NOON, recurrence=_recurrence(misfire="coalesce"))
    assert decisions[0].reason == "Became one with that of 2026-03-01T12:00:00+00:00."


@given(
    policy=st.sampled_from(["skip", "run_once", "all"]),
    count=st.integers(1, 60),
    most=st.integers(1, 10),
    cut=st.integers(1, 60),
)
def test_working_off_in_parts_decides_as_at_once(policy, count, most, cut):
    start = NOON - timedelta(minutes=10 * (count - 1))
    candidates = [Candidate(at, at) for at in (start + timedelta(minutes=10 * step) for step in range(count))]
    recurrence = _recurrence(misfire=policy, catch_up_max=most)
    whole = decide(candidates, now=NOON, recurrence=recurrence)
    head = decide(candidates[: cut + most + 1], now=NOON, recurrence=recurrence)[:cut]
    tail = decide(candidates[cut:], now=NOON, recurrence=recurrence)
    assert [one.status for one in [*head, *tail]] == [one.status for one in whole]


@given(second=st.integers(0, 10**9), jitter_s=st.floats(0, 3600))
def test_jitter_is_the_same_each_time_and_never_more_than_asked(second, jitter_s):
    at = datetime.fromtimestamp(second, UTC)
    due_at = spread(_recurrence(jitter_s=jitter_s), FIXED, 1)
    assert timedelta(0) <= due_at(at) - at <= timedelta(seconds=jitter_s)
    assert due_at(at) == spread(_recurrence(jitter_s=jitter_s), FIXED, 1)(at)


def test_jitter_spreads_evenly():
    due_at = spread(_recurrence(jitter_s=1000), FIXED, 1)
    shares = sorted((due_at(at) - at).total_seconds() for at in (NOON + timedelta(minutes=n) for n in range(1000)))
    assert all(abs(share - index) < 60 for index, share in enumerate(shares))


@st.composite
def _outages(draw: st.DrawFn) -> tuple[list[Candidate], Recurrence]:
    """Occurrences around noon, some moved, some kept out, and any policy."""
    minutes = draw(st.lists(st.integers(-600, 60), unique=True, max_size=40))
    recurrence = _recurrence(
        misfire=draw(st.sampled_from(["skip", "run_once", "coalesce", "all"])),
        catch_up_max=draw(st.integers(1, 5)),
        grace_s=draw(st.sampled_from([0, 60, 3600])),
        start_within_s=draw(st.sampled_from([None, 1800])),
    )
    candidates = []
    for minute in minutes:
        at = NOON + timedelta(minutes=minute)
        is_moved = draw(st.booleans())
        kept_out = draw(st.sampled_from(["", "", "closed"]))
        candidates.append(Candidate(at - timedelta(days=1) if is_moved else at, at, is_moved, kept_out))
    return sorted(candidates, key=lambda one: one.rank), recurrence


@given(outage=_outages())
def test_every_candidate_has_its_decision_in_order_and_nothing_starts_before_its_time(outage):
    candidates, recurrence = outage
    decisions = decide(candidates, now=NOON, recurrence=recurrence)
    assert [one.candidate for one in decisions] == candidates
    for one in decisions:
        assert (one.status.value == "planned") == (one.candidate.due_at > NOON)
        assert bool(one.reason) == (one.status.value not in {"planned", "fired"})


@given(outage=_outages())
def test_of_late_ones_no_more_start_than_the_policy_says_and_those_are_the_newest(outage):
    candidates, recurrence = outage
    decisions = decide(candidates, now=NOON, recurrence=recurrence)
    late = [one for one in decisions if one.candidate.rank + timedelta(seconds=recurrence.grace_s) < NOON]
    could = [
        one for one in late if one.status.value in {"fired", "missed", "coalesced"} and "begin within" not in one.reason
    ]
    started = [one for one in could if one.status.value == "fired"]
    most = {"skip": 0, "run_once": 1, "coalesce": 1, "all": recurrence.catch_up_max}[recurrence.misfire]
    assert len(started) <= most
    assert started == could[len(could) - len(started) :]


@given(outage=_outages())
def test_those_in_time_all_start_unless_they_become_one_or_are_kept_out(outage):
    candidates, recurrence = outage
    decisions = decide(candidates, now=NOON, recurrence=recurrence)
    in_time = [one for one in decisions if NOON - timedelta(seconds=recurrence.grace_s) <= one.candidate.due_at <= NOON]
    for one in in_time:
        expected = {"skipped"} if one.candidate.kept_out else {"fired", "coalesced", "missed"}
        assert one.status.value in expected
        if recurrence.misfire != "coalesce" and recurrence.start_within_s is None and not one.candidate.kept_out:
            assert one.status.value == "fired"


@given(outage=_outages(), later_s=st.integers(0, 86_400))
def test_what_was_missed_at_one_moment_would_not_start_later(outage, later_s):
    candidates, recurrence = outage
    missed = [
        one.candidate for one in decide(candidates, now=NOON, recurrence=recurrence) if one.status.value == "missed"
    ]
    rest = [one for one in candidates if one.due_at <= NOON]
    again = decide(rest, now=NOON + timedelta(seconds=later_s), recurrence=recurrence)
    assert not [one for one in again if one.candidate in missed and one.status.value == "fired"]
