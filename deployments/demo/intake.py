"""What comes in: a poll of the manufacturer's cloud, signed webhooks, the same one twice, and a forged one."""

import json
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from deployments.demo.night import SOON_S, Night, Outcome, problems_of
from deployments.local import shown
from fleet.events import Event
from fleet.robots import Robot
from fleet.states import RobotState
from ingestion.models import Delivery, DeliveryStatus
from ingestion.signatures import sign

FRESH = timedelta(seconds=30)
FORGER = "whsec_" + "Zm9yZ2VkIGJ5IHNvbWVib2R5IGVsc2UhIQ=="
GENUINE_KEY = "demo/door-opened"
FORGED_KEY = "demo/forged"


async def poll(night: Night) -> Outcome:
    """Press poll-manufacturer: one run asks for all robots, and every robot's state is fresh afterwards."""
    run = await night.run("poll-manufacturer", {"organisation": "demo"}, within_s=SOON_S)

    async def fresh() -> list[str]:
        return await night.read(lambda session: _robots_seen_since(session, night, night.runtime.clock.now() - FRESH))

    robots = await night.until(
        fresh, lambda names: len(names) >= 4, within_s=SOON_S, what="A fresh state of all 4 robots"
    )
    pages = await night.read(lambda session: _deliveries(session, night, "poll"))
    checks = {"the poll stored at least one page": pages >= 1}
    return Outcome(
        f"{pages} pages stored, {len(robots)} robots fresh", night.page_of(str(run["id"])), problems_of(checks)
    )


async def receive(night: Night) -> Outcome:
    """Post one signed webhook twice and one forged one; count what the site's own cloud has posted."""
    now = night.runtime.clock.now()
    genuine, forged = _notice(GENUINE_KEY, now), _notice(FORGED_KEY, now)
    secret = night.platform.access.webhook_secret
    answers = [await _post(night, "demo-genuine", genuine, secret, now) for _ in range(2)]
    refusal = await _post(night, "demo-forged", forged, FORGER, now)

    async def told() -> int:
        return await night.read(lambda session: _events(session, night, GENUINE_KEY))

    await night.until(told, lambda count: count >= 1, within_s=SOON_S, what="The event of our own webhook")
    events, forgeries = await told(), await night.read(lambda session: _events(session, night, FORGED_KEY))
    received = await night.read(lambda session: _deliveries(session, night, "webhook"))
    rejected = await night.read(lambda session: _rejected(session, night))
    checks = {
        f"a signed webhook is answered 202, also the second time (it was {answers})": answers == [202, 202],
        "the same webhook twice makes one event": events == 1,
        f"a forged webhook is answered 401 (it was {refusal})": refusal == 401,
        "a forged webhook leaves no event": forgeries == 0,
        "the site's cloud posted webhooks": received > 1,
        f"every delivery was understood ({rejected} were rejected)": rejected == 0,
    }
    where = shown(night.platform.supervisor.log_of("api"))
    return Outcome(f"{received} webhooks stored, 1 duplicate collapsed, 1 forgery refused", where, problems_of(checks))


def _notice(key: str, now: datetime) -> bytes:
    """A notice in the simulated manufacturer's own words."""
    stamp_us = int(now.timestamp() * 1_000_000)
    notice = {
        "type": "NOTICE",
        "noticeId": key,
        "code": "door_opened",
        "stampUs": stamp_us,
        "level": "INFO",
        "details": {},
    }
    return json.dumps({"entries": [notice]}).encode()


async def _post(night: Night, delivery_id: str, body: bytes, secret: str, now: datetime) -> int:
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": sign(secret, delivery_id=delivery_id, sent_at=now, body=body),
    }
    path = f"/v1/webhooks/{night.platform.access.account_id}"
    return (await night.api.call("POST", path, body=body, headers=headers)).status


def _robots_seen_since(session: Session, night: Night, since: datetime) -> list[str]:
    query = select(Robot.name).join(RobotState, col(RobotState.robot_id) == col(Robot.id))
    mine = query.where(Robot.organisation_id == night.organisation_id, RobotState.observed_at >= since)
    return list(session.exec(mine).all())


def _deliveries(session: Session, night: Night, source: str) -> int:
    mine = select(func.count()).select_from(Delivery).where(Delivery.organisation_id == night.organisation_id)
    return session.exec(mine.where(Delivery.source == source)).one()


def _rejected(session: Session, night: Night) -> int:
    mine = select(func.count()).select_from(Delivery).where(Delivery.organisation_id == night.organisation_id)
    return session.exec(mine.where(Delivery.status == DeliveryStatus.rejected)).one()


def _events(session: Session, night: Night, key: str) -> int:
    mine = select(func.count()).select_from(Event).where(Event.organisation_id == night.organisation_id)
    return session.exec(mine.where(col(Event.key).contains(key))).one()
