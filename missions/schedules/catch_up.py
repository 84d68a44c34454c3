"""What becomes of occurrences whose time has come, after whatever delay. Pure: the same question, the same answer.

An occurrence is late when its time, the whole spread of the jitter and the grace have passed. Whoever works off a long
outage in parts hands over the due ones with enough newer ones behind them (`catch_up_max` that could start), and carries
out only the oldest part of the answer; then every part decides as one decision about all of them would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from missions.schedules.models import Misfire, OccurrenceStatus, Recurrence


@dataclass(frozen=True)
class Candidate:
    """One occurrence that is not decided; `kept_out` is why it may not start, such as a blackout."""

    recurrence_id: datetime
    due_at: datetime
    is_moved: bool = False
    kept_out: str = ""

    @property
    def rank(self) -> datetime:
        """What puts occurrences in order; jitter does not."""
        return self.due_at if self.is_moved else self.recurrence_id


@dataclass(frozen=True)
class Decision:
    """`planned` is: not yet; `fired` is: start it now, unless an earlier one is still under way."""

    candidate: Candidate
    status: OccurrenceStatus
    reason: str = ""


def decide(candidates: Sequence[Candidate], *, now: datetime, recurrence: Recurrence) -> list[Decision]:
    """One decision for each candidate, in their order, which is ascending by rank."""
    startable = [one for one in candidates if one.due_at <= now and not refusal(one, now, recurrence)]
    late = {one for one in startable if is_late(one, now, recurrence)}
    chosen = _chosen(startable, late, recurrence)
    newest = startable[-1] if startable else None
    return [_decide(one, now, recurrence, late - chosen, newest) for one in candidates]


def refusal(one: Candidate, now: datetime, recurrence: Recurrence) -> str:
    """Why it cannot be started at all, whatever the policy; empty when it can."""
    if one.kept_out:
        return one.kept_out
    within = recurrence.start_within_s
    if within is not None and one.due_at + timedelta(seconds=within) <= now:
        return f"It was to begin within {within:g} s of its time, and that had passed when it was looked at."
    return ""


def is_late(one: Candidate, now: datetime, recurrence: Recurrence) -> bool:
    """Whether its grace, counted from the end of the spread, has passed."""
    return one.rank + timedelta(seconds=recurrence.jitter_s + recurrence.grace_s) < now


def _chosen(startable: Sequence[Candidate], late: set[Candidate], recurrence: Recurrence) -> set[Candidate]:
    """Those of the late ones that are started all the same."""
    newest_first = [one for one in reversed(startable) if one in late]
    keep = {Misfire.skip: 0, Misfire.run_once: 1, Misfire.coalesce: 1, Misfire.all: recurrence.catch_up_max}
    return set(newest_first[: keep[recurrence.misfire]])


def _decide(
    one: Candidate, now: datetime, recurrence: Recurrence, given_up: set[Candidate], newest: Candidate | None
) -> Decision:
    if one.due_at > now:
        return Decision(one, OccurrenceStatus.planned)
    refused = refusal(one, now, recurrence)
    if refused:
        return Decision(one, OccurrenceStatus.skipped if one.kept_out else OccurrenceStatus.missed, refused)
    if recurrence.misfire is Misfire.coalesce:
        return _coalesce(one, newest)
    if one in given_up:
        late_s = (now - one.due_at).total_seconds()
        return Decision(
            one,
            OccurrenceStatus.missed,
            f"Looked at {late_s:.0f} s after its time; misfire policy {recurrence.misfire}.",
        )
    return Decision(one, OccurrenceStatus.fired)


def _coalesce(one: Candidate, newest: Candidate | None) -> Decision:
    if newest is None or one == newest:
        return Decision(one, OccurrenceStatus.fired)
    return Decision(one, OccurrenceStatus.coalesced, f"Became one with that of {newest.recurrence_id.isoformat()}.")
