"""A mission comes to be: what an operator asks for is checked against the site and written once per key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import insert as insert_into
from sqlalchemy.orm import make_transient_to_detached
from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.errors import Conflict, Invalid, YardmasterError
from fleet.events import insert_new
from fleet.organisations import Site
from missions.drafts import Draft, Ground, check_possible, content_sha256, draft, ground_at, says_of_robots
from missions.lifecycle import Begun, Cause, begin_missions
from missions.models import Mission, MissionCreate, MissionTask, Round

# What is compared when a key comes again, by the name under which it was asked for.
ASKED = {"site_id": "site", "pinned_robot_id": "robot"} | {
    name: name for name in MissionCreate.model_fields if name in Mission.model_fields and name != "key"
}
ASKED_OF_A_TASK = ("kind", "station_id", "parameters", "timeout_s")


def create(
    session: Session,
    *,
    site: Site,
    wanted: MissionCreate,
    who: str,
    round_id: UUID | None = None,
    ground: Ground | None = None,
) -> Mission:
    """The mission of (organisation, `wanted.key`): a new one, SCHEDULED or AWAITING_APPROVAL, or the one already there.

    `ground` is that of `site`, when the caller has read it.

    Raises:
        Invalid: a task names no or an unknown station, the robot works at another site, nobody can do it, or its times
            contradict each other or have passed; says which.
        NotFound: no robot of that name.
        Conflict: the key is that of a mission of which something else was asked; names what differs.
        TooLarge: it has more than drafts.MISSION_MAX_BYTES.
    """
    content = content_sha256(site, wanted)
    same = (Mission.organisation_id == site.organisation_id, Mission.key == wanted.key)
    known = session.exec(select(Mission).where(*same)).first()
    if known is not None and _is_of(known, content):
        return known
    ground = ground or ground_at(session, site, with_robots=says_of_robots(wanted))
    drafted = draft(ground, wanted, who, round_id=round_id)
    if known is None:
        check_possible(drafted, ground, database_now(session))
        known = insert(session, drafted, Cause(who, f"requested by {who}"))
    if known.id != drafted.id:
        _refuse_other_content(session, known, drafted)
    return known


def _is_of(known: Mission, content: str) -> bool:
    """Whether this was asked for; a retry was never asked for by its own key, and of old missions nobody knows."""
    return known.content_sha256 == content or (not known.content_sha256 and known.retry_of is None)


def check(session: Session, *, site: Site, wanted: MissionCreate) -> None:
    """Refuse what `create` would refuse of a new mission, and write nothing.

    Raises:
        Invalid, NotFound, TooLarge: as `create`.
    """
    ground = ground_at(session, site, with_robots=says_of_robots(wanted))
    check_possible(draft(ground, wanted, ""), ground, database_now(session))


def insert(session: Session, drafted: Draft, cause: Cause) -> Mission:
    """Write the mission with its tasks and set it going, unless one with its key is there: then that one."""
    begun = insert_all(session, [(drafted, cause)]).get(drafted.id)
    if begun is None:
        of = drafted.mission
        same = (Mission.organisation_id == of["organisation_id"], Mission.key == of["key"])
        return session.exec(select(Mission).where(*same)).one()
    values: dict[str, Any] = dict(begun.row)
    row = Mission(**values)
    make_transient_to_detached(row)  # it is as it was written, so it need not be read
    session.add(row)
    return row


def insert_all(session: Session, drafted: Sequence[tuple[Draft, Cause]]) -> dict[UUID, Begun]:
    """Write the missions whose key is not taken, with their tasks, and set them going; by their ids.

    Of the others nothing is written, also when they are the second of their key in `drafted`.
    """
    begun = begin_missions(session, [(one.mission, cause) for one, cause in drafted])
    tasks = [task for one, _ in drafted if one.id in begun for task in one.tasks]
    if tasks:
        session.connection().execute(insert_into(MissionTask), tasks)
    return begun


def create_round(
    session: Session, *, site: Site, name: str, key: str, missions: list[MissionCreate], who: str
) -> Round:
    """The round of (organisation, key) with all its missions; asking again for the same adds nothing.

    Raises:
        Invalid: no missions, one key twice, or a mission is wrong (it is named): nothing of the round is kept by a
            caller that rolls back.
        NotFound: no robot of that name.
        Conflict: the key is that of a round, or a mission's key that of a mission, of which something else was asked.
    """
    keys = [wanted.key for wanted in missions]
    if not keys or len(set(keys)) < len(keys):
        raise Invalid(f"A round needs missions with keys of their own; round {key!r} has {keys}.", round=key)
    row = Round(
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=name,
        key=key,
        requested_by=who,
        created_at=database_now(session),
    )
    is_new = insert_new(session, Round, row.model_dump(), on=["organisation_id", "key"])
    same = (Round.organisation_id == site.organisation_id, Round.key == key)
    found = session.exec(select(Round).where(*same)).one()
    if not is_new:
        _refuse_other_round(session, found, row, keys)
    ground = ground_at(session, site, with_robots=any(map(says_of_robots, missions)))
    for number, wanted in enumerate(missions, start=1):
        with _naming(f"mission {number} {wanted.name!r}"):
            mission = create(session, site=site, wanted=wanted, who=who, round_id=found.id, ground=ground)
            if mission.round_id != found.id:
                raise Conflict(f"The key {wanted.key!r} is that of a mission outside this round; use another.")
    return found


@contextmanager
def _naming(subject: str) -> Iterator[None]:
    try:
        yield
    except YardmasterError as error:
        raise type(error)(f"{subject}: {error.message}", **error.fields) from None


def _refuse_other_round(session: Session, known: Round, asked: Round, keys: Sequence[str]) -> None:
    own = (Mission.round_id == known.id, col(Mission.retry_of).is_(None))
    members = set(session.exec(select(Mission.key).where(*own)).all())
    differs = [name for name in ("name", "site_id") if getattr(known, name) != getattr(asked, name)]
    if members != set(keys):
        strange = ", ".join(repr(key) for key in sorted(members ^ set(keys))[:5])
        differs.append(f"missions ({strange} in only one of both)")
    if differs:
        raise Conflict(
            f"The key {known.key!r} is that of another round, {known.name!r} of {known.requested_by}: it differs in "
            f"{', '.join(differs)}. Use another key, or ask for the same.",
            round=str(known.id),
        )


def _refuse_other_content(session: Session, known: Mission, asked: Draft) -> None:
    differs = [word for field, word in ASKED.items() if getattr(known, field) != asked.mission[field]]
    query = select(MissionTask).where(MissionTask.mission_id == known.id).order_by(col(MissionTask.position))
    kept = [[getattr(task, field) for field in ASKED_OF_A_TASK] for task in session.exec(query).all()]
    if kept != [[task[field] for field in ASKED_OF_A_TASK] for task in asked.tasks]:
        differs.append("tasks")
    if differs:
        raise Conflict(
            f"The key {known.key!r} is that of another mission, {known.name!r} of {known.requested_by}: it differs in "
            f"{', '.join(differs)}. Use another key, or ask for the same.",
            mission=str(known.id),
            differs=differs,
        )
