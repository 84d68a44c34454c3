"""The recording policies of organisations: every version stays as it was written, with who, when and why.

The newest version of each policy counts. It says itself for whom it is, so that this has a history, too.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, UniqueConstraint, func
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import changes
from fleet.clock import database_now
from fleet.database import JSONColumn, UTCDateTime, new_id
from fleet.errors import Conflict, NotFound
from fleet.organisations import Organisation, Site, site_named
from fleet.robots import Robot, robot_named
from ingestion.recording_policy import Applies, RecordingPolicy


class PolicyVersion(SQLModel, table=True):
    """One version of a policy; (organisation, name, version) exists once and is never changed."""

    __tablename__ = "recording_policies"
    __table_args__ = (UniqueConstraint("organisation_id", "name", "version"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    name: str
    version: int = Field(description="From 1.")
    document: dict[str, object] = Field(sa_column=Column(JSONColumn, nullable=False))
    why: str = ""
    written_by: str
    written_at: datetime = Field(sa_type=UTCDateTime)

    @property
    def policy(self) -> RecordingPolicy:
        """What it says."""
        return RecordingPolicy.model_validate(self.document)

    @property
    def label(self) -> str:
        """How it is named where one version is meant: `night@3`."""
        return f"{self.name}@{self.version}"


def put(
    session: Session, *, organisation_id: UUID, name: str, policy: RecordingPolicy, why: str, who: str
) -> PolicyVersion:
    """A new version of the policy `name`; the newest one again when that says the same already.

    Raises:
        NotFound: no such site or robot in the organisation.
        Conflict: another policy is for the same robot, site or everywhere; says which.
    """
    _lock(session, organisation_id)
    for site in policy.applies_to.sites:
        site_named(session, organisation_id, site)
    for robot in policy.applies_to.robots:
        robot_named(session, organisation_id, robot)
    rows = newest(session, organisation_id)
    _check_alone(policy.applies_to, [row for row in rows if row.name != name])
    before = next((row for row in rows if row.name == name), None)
    if before is not None and before.policy == policy:
        return before
    row = PolicyVersion(
        organisation_id=organisation_id,
        name=name,
        version=before.version + 1 if before else 1,
        document=policy.model_dump(mode="json"),
        why=why,
        written_by=who,
        written_at=database_now(session),
    )
    session.add(row)
    session.flush()
    told: dict[str, object] = {"version": row.version}
    changes.record(
        session,
        organisation_id=organisation_id,
        subject="recording_policy",
        subject_id=name,
        kind="written",
        fields=told,
    )
    return row


def _lock(session: Session, organisation_id: UUID) -> None:
    """Policies of an organisation are written one after the other; rows that only name it are not kept waiting."""
    session.exec(
        select(Organisation.id).where(Organisation.id == organisation_id).with_for_update(key_share=True)
    ).one()


def _check_alone(wanted: Applies, others: Sequence[PolicyVersion]) -> None:
    for row in others:
        theirs = row.policy.applies_to
        both = sorted({*wanted.robots} & {*theirs.robots}) or sorted({*wanted.sites} & {*theirs.sites})
        if not both and wanted.everywhere and theirs.everywhere:
            both = ["everywhere"]
        if both:
            raise Conflict(
                f"The policy {row.name!r} (version {row.version}) is for {both[0]!r} already; take it out there first.",
                policy=row.name,
                version=row.version,
                both=both[:100],
            )


def newest(session: Session, organisation_id: UUID) -> Sequence[PolicyVersion]:
    """The newest version of each policy of the organisation, by name."""
    last = (
        select(PolicyVersion.name, func.max(PolicyVersion.version).label("version"))
        .where(PolicyVersion.organisation_id == organisation_id)
        .group_by(col(PolicyVersion.name))
        .subquery()
    )
    query = select(PolicyVersion).join(
        last, (col(PolicyVersion.name) == last.c.name) & (col(PolicyVersion.version) == last.c.version)
    )
    mine = query.where(PolicyVersion.organisation_id == organisation_id)
    return session.exec(mine.order_by(PolicyVersion.name)).all()


def versions(session: Session, organisation_id: UUID, name: str) -> Sequence[PolicyVersion]:
    """Every version of the policy `name`, newest first.

    Raises:
        NotFound: there is no such policy; names the known ones.
    """
    mine = (PolicyVersion.organisation_id == organisation_id, PolicyVersion.name == name)
    rows = session.exec(select(PolicyVersion).where(*mine).order_by(col(PolicyVersion.version).desc())).all()
    if not rows:
        known = ", ".join(row.name for row in newest(session, organisation_id))
        raise NotFound(f"There is no recording policy {name!r}; known policies: {known or 'none'}.", policy=name)
    return rows


def policy_of(session: Session, robot: Robot) -> PolicyVersion | None:
    """What counts for this robot: the policy that names it, else its site, else everywhere; None: no policy does."""
    site = session.get_one(Site, robot.site_id).name
    found = [
        (_closeness(row.policy.applies_to, robot.name, site), row) for row in newest(session, robot.organisation_id)
    ]
    closest = max(found, key=lambda one: one[0], default=(0, None))
    return closest[1] if closest[0] > 0 else None


def _closeness(applies: Applies, robot: str, site: str) -> int:
    if robot in applies.robots:
        return 3
    if site in applies.sites:
        return 2
    return int(applies.everywhere)
