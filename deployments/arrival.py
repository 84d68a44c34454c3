"""Whether the gateway of a one-machine platform has come through to it: asked of the API, as anybody would."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel

from deployments.links import GATEWAY
from deployments.supervise import Supervisor, tail_of
from fleet.errors import Rejected, Unavailable
from fleet.transport import open_transport

WITHIN_S = 30.0
LOOK_S = 0.2
PATH = "/v1/gateways?limit=200"


class Seen(BaseModel):
    """What of a gateway is looked at; the launcher stays small, and does without the classes of the database."""

    name: str
    is_there: bool
    robots: int
    seen_at: datetime | None


class Found(BaseModel):
    """The API's answer."""

    items: list[Seen]


def tell_arrival(api_url: str, token: str, since: datetime, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Wait until the seeded gateway, heard after `since`, holds robots, and say so; after WITHIN_S say what is missing.

    Raises:
        Unavailable: one of the children ended meanwhile; carries the end of its log.
    """
    until = time.monotonic() + WITHIN_S
    while ((seen := _seen(api_url, token, since)) is None or not seen.robots) and time.monotonic() < until:
        supervisor.check()
        time.sleep(LOOK_S)
    if seen is not None:
        return say(f"The gateway is connected and holds {seen.robots} robots.")
    log = supervisor.log_of("gateway")
    return say(
        f"The gateway is not connected after {WITHIN_S:.0f} s; until it is, no robot behind it gets a mission. "
        f"The end of its log ({log}):\n{tail_of(log) or '(empty)'}"
    )


def _seen(api_url: str, token: str, since: datetime) -> Seen | None:
    try:
        found = asyncio.run(_gateways(api_url, token))
    except (Rejected, Unavailable):  # it is asked again, and in the end its log tells more
        return None
    heard = (one for one in found if one.name == GATEWAY and one.is_there)
    return next((one for one in heard if one.seen_at is not None and one.seen_at >= since), None)


async def _gateways(api_url: str, token: str) -> list[Seen]:
    headers = {"Authorization": f"Bearer {token}"}
    async with open_transport(api_url, timeout_s=3.0, connections=1, headers=headers) as transport:
        answer = await transport.call("GET", PATH)
    if answer.status != 200:
        raise Rejected(f"GET {PATH} answered {answer.status}.", path=PATH)
    return Found.model_validate_json(answer.body).items
