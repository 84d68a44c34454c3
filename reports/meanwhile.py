"""What happened to a robot while a bag of it was recorded: each event with the alert it opened and the mission it was on."""

from dataclasses import dataclass

from sqlmodel import Session

from fleet.events import Alert, Event
from ingestion.catalogue import alerts_about, events_within
from ingestion.models import Bag
from missions.during import Stint, stints


@dataclass(frozen=True)
class Happened:
    """An event, the alert that it opened, and the mission that its robot was on."""

    event: Event
    alert: Alert | None
    mission: Stint | None


def happened(session: Session, bag: Bag) -> list[Happened]:
    """The events within a bag, in the order of time; 200 at most. Of two missions, the one that began last counts."""
    events = events_within(session, bag)
    if not events or bag.robot_id is None:
        return []
    alerts = alerts_about(session, events)
    first, last = events[0].occurred_at, events[-1].occurred_at
    found = stints(session, bag.robot_id, since=first, until=last)[::-1]
    return [
        Happened(event, alerts.get(event.id), next((stint for stint in found if stint.holds(event.occurred_at)), None))
        for event in events
    ]
