"""What the dispatcher does at a look: a plan, made with what it remembers of free robots while looks follow closely."""

from sqlmodel import Session

from fleet.clock import Clock
from missions import snapshot
from missions.plan import Plan, Snapshot, plan

PORTION = 32  # missions given in one transaction: the first of a crowd do not wait for the last
REMEMBERED_S = 0.5  # so long, at most, free robots are taken from memory: of one that is free since, a look knows later
REFRESHED_S = 0.3  # older ones are read anew after a look, so that the next one, which a mission waits for, need not
NOTHING = Plan()


class Planner:
    """Plans for one dispatcher, one look at a time."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is remembered yet."""
        self._clock = clock
        self._free: snapshot.Free | None = None
        self._read_at = 0.0
        self._is_in_use = False  # the last look gave missions to robots that were remembered
        self.is_portion = False  # more missions may wait than were looked at

    def plan(self, session: Session) -> tuple[Snapshot, Plan]:
        """What waits and what becomes of it: the first few of a crowd, as long as there is a robot for each of them."""
        if self._clock.monotonic() - self._read_at >= REMEMBERED_S:
            self._free = None
        seen = snapshot.take_first(session, PORTION, free=self._free)
        made = plan(seen, self._free.ranking if self._free is not None and seen.is_remembered else None)
        if seen.is_remembered and not _is_all_given(seen, made):
            seen = snapshot.take_first(session, PORTION)
            made = plan(seen)
        is_all_given = _is_all_given(seen, made)
        self._is_in_use = seen.is_remembered and bool(made.assignments)
        self.is_portion = is_all_given and len(seen.missions) == PORTION
        if len(seen.missions) == PORTION and not is_all_given:
            seen = snapshot.take(session)
            made = plan(seen)
        if seen.missions and not seen.is_remembered:
            # Where one gets none, the next look must read them all again to say why.
            self._free = snapshot.free_in(seen, made) if is_all_given else None
            self._read_at = self._clock.monotonic()
        return seen, made

    @property
    def is_stale(self) -> bool:
        """Whether the robots that are remembered were needed just now, and will be too old soon."""
        is_old = self._clock.monotonic() - self._read_at >= REFRESHED_S
        return self._free is not None and self._is_in_use and is_old

    def refresh(self, session: Session) -> None:
        """Read the free robots anew where those that are remembered are stale."""
        if self._free is not None and self.is_stale:
            self._free = snapshot.free_now(session, self._free.organisation_ids)
            self._read_at = self._clock.monotonic()

    def is_to_look_again(self, seen: Snapshot, made: Plan, given: int) -> bool:
        """Whether what was remembered was wrong, as only `given` of the plan's robots got their mission."""
        if given < len(made.assignments):
            self._free = None
        return seen.is_remembered and self._free is None


def _is_all_given(seen: Snapshot, made: Plan) -> bool:
    return len(made.assignments) == len(seen.missions)
