"""What of a schedule is to be decided now: a bounded batch of candidates, oldest first, each transaction one.

A batch is of one revision. Behind a batch that leaves more for the next one, enough newer candidates are looked up (and
not decided) for the misfire policy to know how many come after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from missions.schedules.blackouts import Window, closures
from missions.schedules.catch_up import Candidate, refusal
from missions.schedules.models import Misfire, Occurrence, OccurrenceStatus, Recurrence, Schedule
from missions.schedules.recurrence import MOMENT, spread, times
from missions.schedules.rows import recurrence_of, revision_after, revision_of

BATCH = 800
LOOK_AHEAD = 200  # in one go; twice the greatest `catch_up_max`


@dataclass(frozen=True)
class Batch:
    """Candidates by rank; those after `horizon` are not decided yet, and `until` is the cursor when the others are."""

    revision: int
    recurrence: Recurrence
    candidates: tuple[Candidate, ...]
    horizon: datetime
    until: datetime
    planned: dict[datetime, Occurrence]
    round_size: int


def batch_of(session: Session, schedule: Schedule, now: datetime) -> Batch:
    """The oldest occurrences of the schedule that are due and not decided; the schedule is locked by the caller."""
    cursor = schedule.decided_until_at
    number, ends_at = revision_after(session, schedule.id, cursor)
    older = _oldest_waiting(session, schedule, now)
    if older is not None and older < number:
        return _waiting_batch(session, schedule, older, now)
    revision = revision_of(session, schedule.id, number)
    recurrence = recurrence_of(revision)
    until = max(cursor, now if ends_at is None else min(now, ends_at))
    found = times(recurrence, after=cursor, until=until, limit=BATCH + 1)
    is_cut = len(found) > BATCH
    horizon = found[BATCH - 1] if is_cut else now
    reader = _Reader(session, schedule, number, recurrence)
    planned = _planned(session, schedule, number, now)
    candidates = [*reader.candidates(found[:BATCH]), *reader.kept([_as_candidate(row) for row in planned.values()])]
    if is_cut:
        candidates += reader.beyond(horizon, until, now)
    ranked = tuple(sorted(candidates, key=lambda one: (one.rank, one.recurrence_id)))
    reached = horizon if is_cut else until
    return Batch(number, recurrence, ranked, horizon, reached, planned, round_size=len(revision.missions))


def _waiting_batch(session: Session, schedule: Schedule, number: int, now: datetime) -> Batch:
    """What waited (for its spread, or moved) of a revision that makes no new occurrences any more."""
    revision = revision_of(session, schedule.id, number)
    recurrence = recurrence_of(revision)
    planned = _planned(session, schedule, number, now)
    reader = _Reader(session, schedule, number, recurrence)
    waiting = reader.kept([_as_candidate(row) for row in planned.values()])
    ranked = tuple(sorted(waiting, key=lambda one: (one.rank, one.recurrence_id)))
    cursor = schedule.decided_until_at
    return Batch(number, recurrence, ranked, now, cursor, planned, round_size=len(revision.missions))


def _oldest_waiting(session: Session, schedule: Schedule, now: datetime) -> int | None:
    query = select(func.min(Occurrence.revision)).where(
        Occurrence.schedule_id == schedule.id,
        Occurrence.status == OccurrenceStatus.planned,
        Occurrence.due_at <= now,
    )
    return session.exec(query).one()


def _planned(session: Session, schedule: Schedule, number: int, now: datetime) -> dict[datetime, Occurrence]:
    query = select(Occurrence).where(
        Occurrence.schedule_id == schedule.id,
        Occurrence.revision == number,
        Occurrence.status == OccurrenceStatus.planned,
        Occurrence.due_at <= now,
    )
    rows = session.exec(query.order_by(col(Occurrence.due_at)).limit(BATCH)).all()
    return {row.recurrence_id: row for row in rows}


def _as_candidate(row: Occurrence) -> Candidate:
    return Candidate(row.recurrence_id, row.due_at, row.is_moved)


class _Reader:
    """Makes candidates of the times of one revision: those without a row, with what keeps them out."""

    def __init__(self, session: Session, schedule: Schedule, number: int, recurrence: Recurrence) -> None:
        self._session = session
        self._schedule = schedule
        self._recurrence = recurrence
        self._due_at = spread(recurrence, schedule.id, number)
        rows = select(Occurrence.recurrence_id).where(
            Occurrence.schedule_id == schedule.id,
            Occurrence.revision == number,
            Occurrence.recurrence_id > schedule.decided_until_at,
        )
        self._known = set(session.exec(rows).all())  # moved or cancelled before their time

    def candidates(self, found: Sequence[datetime]) -> list[Candidate]:
        """One for each of these times of the rule, unless it has its row."""
        return self.kept([Candidate(at, self._due_at(at)) for at in found if at not in self._known])

    def kept(self, candidates: list[Candidate]) -> list[Candidate]:
        """The same, those in a blackout marked."""
        closed = self._closed([one.due_at for one in candidates])
        return [_marked(one, closed[one.due_at]) if one.due_at in closed else one for one in candidates]

    def beyond(self, after: datetime, until: datetime, now: datetime) -> list[Candidate]:
        """Newer ones, until as many as could be caught up with are found, or all."""
        if self._recurrence.misfire is Misfire.skip:
            return []
        if self._recurrence.start_within_s is not None:
            open_s = self._recurrence.start_within_s + self._recurrence.jitter_s
            after = max(after, now - timedelta(seconds=open_s))
        found: list[Candidate] = []
        while True:
            ahead = times(self._recurrence, after=after, until=until, limit=LOOK_AHEAD)
            found += self.candidates(ahead)
            could_start = sum(not refusal(one, now, self._recurrence) for one in found)
            if len(ahead) < LOOK_AHEAD or could_start >= self._recurrence.catch_up_max:
                return found
            after = self._end_of_closure(ahead[-1])

    def _end_of_closure(self, at: datetime) -> datetime:
        window = self._closed([at]).get(at)
        return at if window is None or self._recurrence.jitter_s else max(at, window.ends_at - MOMENT)

    def _closed(self, instants: Sequence[datetime]) -> dict[datetime, Window]:
        site = self._schedule.site_id
        return closures(self._session, site, instants, with_holidays=self._recurrence.skip_holidays)


def _marked(one: Candidate, window: Window) -> Candidate:
    return replace(one, kept_out=f"The {window.kind} {window.name!r} of the site.")
