"""Where missions are asked for: checked against what is remembered of the site, written in groups, shown as written."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from api.group_commit import Answered, Asked, Missions
from api.memory import Remembered
from fleet.errors import Unavailable, YardmasterError
from fleet.organisations import Principal, site_named
from fleet.runtime import Runtime
from missions import snapshot
from missions.drafts import Draft, Ground, check_possible, draft, ground_at, says_of_robots
from missions.first_view import first_view
from missions.models import Mission, MissionCreate, MissionStatus

# How old the stations and robots may be that a mission is checked against, and the reason it is said to wait for.
GROUND_SECONDS = 2.0
REASON_SECONDS = 1.0


class Reception:
    """Takes missions; asking again with the same key gives the mission that is there."""

    def __init__(self, runtime: Runtime, writer: Missions) -> None:
        """`writer` commits what is asked for."""
        self._runtime = runtime
        self._writer = writer
        self._grounds: Remembered[tuple[UUID, str, bool], Ground] = Remembered(runtime.clock, seconds=GROUND_SECONDS)
        self._reasons: Remembered[tuple[object, ...], str] = Remembered(runtime.clock, seconds=REASON_SECONDS)

    async def ask(self, caller: Principal, site: str, wanted: MissionCreate) -> Answered:
        """The mission that is wanted at this site, once it is committed.

        Raises:
            YardmasterError: as `missions.create.create`; Unavailable when it cannot be written now.
        """
        place = (caller.organisation_id, site, says_of_robots(wanted))
        ground = await self._grounds.fetch(place, lambda: self._look_around(*place))
        drafted = self._drafted(ground, wanted, str(caller)) if ground else None
        outcome = await self._writer.write(Asked(caller, site, wanted, drafted))
        if isinstance(outcome, Answered) or drafted is None:
            assert isinstance(outcome, Answered)
            return outcome
        return Answered(first_view(drafted, outcome, waiting_for=await self._reason(outcome.row)), is_new=True)

    def _drafted(self, ground: Ground, wanted: MissionCreate, who: str) -> Draft | None:
        """The draft; None when something is in its way: that is looked at once more, in the database as it is now."""
        try:
            drafted = draft(ground, wanted, who)
            check_possible(drafted, ground, self._runtime.clock.now())
        except YardmasterError:
            return None
        return drafted

    def _look_around(self, organisation_id: UUID, site: str, with_robots: bool) -> Ground:
        with self._runtime.reading() as session:
            return ground_at(session, site_named(session, organisation_id, site), with_robots=with_robots)

    async def _reason(self, row: Mapping[str, object]) -> str:
        if row["status"] is not MissionStatus.scheduled:
            return ""
        able = tuple(sorted(row["required_capabilities"]))  # type: ignore[call-overload]
        when = (row["earliest_start_at"], row["not_after_at"])
        kind = (row["organisation_id"], row["site_id"], row["pinned_robot_id"], able, *when)
        try:
            return await self._reasons.fetch(kind, lambda: self._read_reason(row)) or ""
        except Unavailable:  # the mission is there, whatever became of the database since
            return ""

    def _read_reason(self, row: Mapping[str, Any]) -> str:
        mission = Mission(**row)
        with self._runtime.reading() as session:
            return snapshot.waiting_for(session, [mission]).get(mission.id, "")
