"""Robots and the exclusive hold on them: a lease row and a fence that only rises."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BindParameter, Column, Index, UniqueConstraint, Uuid, and_, bindparam, func, or_
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import reading
from fleet.database import JSONColumn, UTCDateTime, new_id, text_of
from fleet.errors import NotFound


class HolderKind(StrEnum):
    """Who may hold a robot."""

    attempt = "attempt"
    operator = "operator"
    charger = "charger"
    maintenance = "maintenance"
    rollout = "rollout"


class Robot(SQLModel, table=True):
    """A robot of an organisation; `fence` is the number of the newest hold on it, older ones are harmless."""

    __tablename__ = "robots"
    __table_args__ = (
        UniqueConstraint("organisation_id", "name"),
        UniqueConstraint("account_id", "serial_number"),
        Index("ix_robots_link", "link_account_id", "link_address", unique=True),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    account_id: UUID = Field(foreign_key="manufacturer_accounts.id", index=True)
    name: str
    serial_number: str
    link_account_id: UUID | None = Field(
        default=None,
        foreign_key="manufacturer_accounts.id",
        description="The push account over which it is commanded; null: its account.",
    )
    link_address: str | None = Field(default=None, description="Its address there; null: its serial number.")
    model: str = ""
    capabilities: list[str] = Field(default_factory=list, sa_column=Column(JSONColumn, nullable=False))
    battery_minimum_fraction: float = 0.2
    fence: int = 0
    created_at: datetime = Field(sa_type=UTCDateTime)

    @property
    def commanded_over(self) -> UUID:
        """The account over which orders reach it."""
        return self.link_account_id or self.account_id

    @property
    def address(self) -> str:
        """Its serial number as the account over which orders reach it has it."""
        return self.link_address or self.serial_number


COMMANDED_OVER = func.coalesce(col(Robot.link_account_id), col(Robot.account_id))
COMMANDED_AT = func.coalesce(col(Robot.link_address), col(Robot.serial_number))


_ACCOUNT: BindParameter[UUID] = bindparam("account", type_=Uuid)
_NAMES: BindParameter[list[str]] = bindparam("names", expanding=True)
CALLED = select(Robot).where(
    or_(
        and_(col(Robot.account_id) == _ACCOUNT, col(Robot.serial_number).in_(_NAMES)),
        and_(col(Robot.link_account_id) == _ACCOUNT, COMMANDED_AT.in_(_NAMES)),
    )
)


class RobotLease(SQLModel, table=True):
    """The one hold on a robot; deleted when released. Safety rests on the fence, never on `expires_at`."""

    __tablename__ = "robot_leases"

    robot_id: UUID = Field(foreign_key="robots.id", primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    holder_kind: HolderKind = Field(sa_type=text_of(HolderKind))
    holder_id: str
    fence: int
    expires_at: datetime = Field(sa_type=UTCDateTime)


def robot_named(session: Session, organisation_id: UUID, name: str) -> Robot:
    """The robot called `name` within the organisation.

    Raises:
        NotFound: there is none; names the known ones.
    """
    row = session.exec(select(Robot).where(Robot.organisation_id == organisation_id, Robot.name == name)).first()
    if row is None:
        known = session.exec(
            select(Robot.name).where(Robot.organisation_id == organisation_id).order_by(Robot.name)
        ).all()
        raise NotFound(f"There is no robot {name!r}; known robots: {', '.join(known) or 'none'}.", robot=name)
    return row


def add_robot(session: Session, robot: Robot) -> Robot:
    """The new robot, under its name with a number behind it where that name is taken."""
    taken = set(session.exec(select(Robot.name).where(Robot.organisation_id == robot.organisation_id)).all())
    names = [robot.name, *(f"{robot.name}-{number}" for number in range(2, len(taken) + 3))]
    robot.name = next(name for name in names if name not in taken)
    session.add(robot)
    session.flush()
    return robot


def robots_by_serial(session: Session, account_id: UUID, serial_numbers: set[str]) -> dict[str, Robot]:
    """The robots that an account calls by these serial numbers or addresses, in one query, to be looked at only."""
    asked = {"account": account_id, "names": list(serial_numbers)}
    rows = reading.plain(Robot, reading.read(session, CALLED, asked)) if serial_numbers else []
    return {row.address if row.commanded_over == account_id else row.serial_number: row for row in rows}
