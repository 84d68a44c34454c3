"""What the API writes in groups: webhooks into the inbox, and the missions that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlmodel import Session, select

from fleet import ledger
from fleet.clock import database_now
from fleet.errors import YardmasterError
from fleet.group_commit import GroupCommit, Transaction
from fleet.organisations import Principal, Site, site_named
from ingestion import inbox
from ingestion.models import Delivery
from missions.board import MissionView, missions_seen
from missions.create import create, insert_all
from missions.drafts import Draft, is_in_time
from missions.lifecycle import Begun, Cause
from missions.models import Mission, MissionCreate

log = structlog.get_logger(__name__)

Deliveries = GroupCommit[Delivery, None]


@dataclass(frozen=True)
class Asked:
    """A mission that somebody asks for; one without a draft is checked where it is written."""

    caller: Principal
    site: str
    wanted: MissionCreate
    draft: Draft | None = None

    @property
    def cause(self) -> Cause:
        """Who asks, and why the mission is there."""
        return Cause(str(self.caller), f"requested by {self.caller}")


@dataclass(frozen=True)
class Answered:
    """The mission as it was when it was committed; `is_new` is false when it was there already."""

    mission: MissionView
    is_new: bool


# What was drafted and is new is answered as it was written: its view is made elsewhere.
Outcome = Answered | Begun
Missions = GroupCommit[Asked, Outcome]


def deliveries(transaction: Transaction) -> Deliveries:
    """The writer of the inbox; a second delivery of the same account and key changes nothing."""
    return GroupCommit(transaction, _receive, what="deliveries", size_of=lambda delivery: len(delivery.body))


def missions(transaction: Transaction) -> Missions:
    """The writer of missions; asking again with the same key gives the mission that is there."""
    return GroupCommit(transaction, _create, what="missions")


def _receive(session: Session, batch: Sequence[Delivery]) -> list[None]:
    new = inbox.receive_all(session, batch)
    if new < len(batch):
        log.info("duplicate deliveries collapsed", count=len(batch) - new)
    return [None] * len(batch)


def _create(session: Session, batch: Sequence[Asked]) -> list[Outcome | YardmasterError]:
    """All that is drafted at once; each of the others, and what was there already, by itself."""
    session.connection()  # SQLite's one writer may have to be waited for, and what is written is of after that
    now = database_now(session)
    drafted = [(one.draft, one.cause) for one in batch if one.draft and is_in_time(one.draft, now)]
    begun = insert_all(session, drafted)
    others = [one for one in batch if one.draft is None or one.draft.id not in begun]
    answers = iter(_create_singly(session, others) if others else ())
    return [begun[one.draft.id] if one.draft and one.draft.id in begun else next(answers) for one in batch]


def _create_singly(session: Session, batch: Sequence[Asked]) -> list[Answered | YardmasterError]:
    made: list[tuple[Mission, bool] | YardmasterError] = []
    with ledger.together(session):
        for asked in batch:
            try:
                with ledger.savepoint(session):
                    made.append(_create_one(session, asked))
            except YardmasterError as error:
                made.append(error)
    ids = {one[0].id: one[0] for one in made if not isinstance(one, YardmasterError)}
    views = {view.id: view for view in missions_seen(session, list(ids.values()))}
    return [one if isinstance(one, YardmasterError) else Answered(views[one[0].id], is_new=one[1]) for one in made]


def _create_one(session: Session, asked: Asked) -> tuple[Mission, bool]:
    organisation_id: UUID = asked.caller.organisation_id
    site: Site = site_named(session, organisation_id, asked.site)
    same = (Mission.organisation_id == organisation_id, Mission.key == asked.wanted.key)
    known = session.exec(select(Mission.id).where(*same)).first()
    mission = create(session, site=site, wanted=asked.wanted, who=str(asked.caller))
    return mission, known is None
