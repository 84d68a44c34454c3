"""Asks the platform what each robot shall record, every few seconds, and hands it to the robots."""

import asyncio
from urllib.parse import quote

import structlog
from pydantic import ValidationError

from fleet.adapters.simulated.policy import Policy
from fleet.adapters.simulated.world import World
from fleet.errors import Rejected, Unavailable
from fleet.transport import Transport

log = structlog.get_logger(__name__)

ASKS_EVERY_S = 2.0


class PolicyFetcher:
    """Knows by their tags which answers the robots have; while the platform is away they follow what they had last."""

    def __init__(self, transport: Transport, world: World) -> None:
        """`transport` carries the platform's address and the device token."""
        self._transport, self._world = transport, world
        self._tags: dict[str, str] = {}
        self._is_away = False

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.fetch_all()
            await asyncio.sleep(ASKS_EVERY_S)

    async def fetch_all(self) -> None:
        """Ask once for every robot; without an answer the rest of them is left for the next time."""
        try:
            for robot in list(self._world.robots.values()):
                await self._fetch(robot.identity.serial_number, robot.identity.name)
        except (Unavailable, Rejected) as error:
            if not self._is_away:
                log.warning("recording policies are not told", why=error.message)
            self._is_away = True
        else:
            self._is_away = False

    async def _fetch(self, serial_number: str, name: str) -> None:
        tag = self._tags.get(serial_number)
        headers = {"If-None-Match": tag} if tag else {}
        path = f"/v1/robots/{quote(name, safe='')}/recording-policy"
        answer = await self._transport.call("GET", path, headers=headers)
        if answer.status == 304:
            return
        if answer.status != 200:
            raise Rejected(f"GET {path} answered {answer.status}.")
        try:
            policy = Policy.model_validate_json(answer.body)
        except ValidationError as error:
            raise Rejected(f"GET {path} gave an answer that is not understood: {error}") from error
        await asyncio.to_thread(self._world.follow, serial_number, policy)
        self._tags[serial_number] = answer.headers.get("etag", "")
