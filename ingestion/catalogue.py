"""What was recorded: the bags of an organisation, newest first."""

from uuid import UUID

from sqlmodel import Session, col, select

from fleet.errors import NotFound
from ingestion.models import Bag, BagStatus


def bags_of(
    session: Session,
    organisation_id: UUID,
    *,
    robot: str | None = None,
    status: BagStatus | None = None,
    limit: int = 200,
) -> list[Bag]:
    """The bags of an organisation, last uploaded first; those of one robot or status where that is named."""
    query = select(Bag).where(Bag.organisation_id == organisation_id)
    if robot is not None:
        query = query.where(Bag.robot_name == robot)
    if status is not None:
        query = query.where(Bag.status == status)
    return list(session.exec(query.order_by(col(Bag.uploaded_at).desc(), col(Bag.id).desc()).limit(limit)).all())


def bag_of(session: Session, organisation_id: UUID, bag_id: UUID) -> Bag:
    """One bag of an organisation.

    Raises:
        NotFound: there is none of this id, or it belongs to another organisation.
    """
    bag = session.get(Bag, bag_id)
    if bag is None or bag.organisation_id != organisation_id:
        raise NotFound(f"There is no bag {bag_id}.", bag=str(bag_id))
    return bag
