"""The rows that learning writes for others to read."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from fleet.database import UTCDateTime, new_id


class RobotHealth(SQLModel, table=True):
    """One score: how many operating hours a robot's drive is expected to go on, with a 90 % interval."""

    __tablename__ = "robot_health"
    __table_args__ = (UniqueConstraint("robot_id", "model_version", "as_of"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    robot_id: UUID = Field(foreign_key="robots.id", index=True)
    as_of: datetime = Field(sa_type=UTCDateTime, description="Time of the newest measurement the score rests on.")
    scored_at: datetime = Field(sa_type=UTCDateTime)
    rul_hours: float
    rul_lower_hours: float
    rul_upper_hours: float
    model_name: str
    model_version: str
    feature_hash: str
