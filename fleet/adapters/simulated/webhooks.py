"""Tells the account's webhook what happens, signed as Standard Webhooks writes it, until it is taken.

Two kinds of delivery: entries of the history, each in order and at least once; and the present state of all units, of
which only the newest matters, so that a failed one is not repeated.
"""

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from random import Random

import structlog

from fleet.adapters.simulated import translate, wire
from fleet.adapters.simulated.journal import FeedEntry, Journal
from fleet.adapters.simulated.world import World
from fleet.clock import Clock
from fleet.errors import Rejected, Unavailable
from fleet.transport import Transport

log = structlog.get_logger(__name__)

ENTRIES_MAX = 20
LOOKS_EVERY_S = 0.1
STATUS_EVERY_S = 5.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
SENT_FACT = "webhook_sent"


@dataclass(frozen=True)
class Hook:
    """Where to tell it, the secret shared with the receiver, and which share of deliveries is sent twice on purpose."""

    url: str
    secret: str
    duplicate_rate: float = 0.0


def signature(secret: str, *, delivery_id: str, sent_at: datetime, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of "id.timestamp.body" under the key that follows `whsec_` in the secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f"{delivery_id}.{int(sent_at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, said, hashlib.sha256)).decode()


class WebhookSender:
    """Sends the journal's history and the world's state; where it got to is in the journal."""

    def __init__(self, hook: Hook, transport: Transport, world: World, clock: Clock) -> None:
        """`transport` reaches `hook.url`."""
        self._hook, self._transport, self._world, self._clock = hook, transport, world, clock
        self._journal: Journal = world.journal
        self._is_away = False
        self._tries = 0

    async def run(self) -> None:
        """Send for ever."""
        status_due = self._clock.monotonic()
        while True:
            sent = await self.send_history()
            if self._clock.monotonic() >= status_due:
                await self.send_status()
                status_due = self._clock.monotonic() + STATUS_EVERY_S
            await asyncio.sleep(self._pause_s() if self._is_away else 0.0 if sent else LOOKS_EVERY_S)

    def _pause_s(self) -> float:
        longest = min(FIRST_PAUSE_S * 2.0 ** min(self._tries - 1, 10), LONGEST_PAUSE_S)
        return longest * Random().uniform(0.8, 1.2)

    async def send_history(self) -> bool:
        """Send the next entries of the history; True when they were taken.

        The delivery id is made of the entries' numbers, so that the same entries sent again carry the same id.
        """
        number = int(self._journal.fact(SENT_FACT) or 0)
        entries = await asyncio.to_thread(self._journal.feed_after, number, limit=ENTRIES_MAX)
        if not entries:
            return False
        told = [entry for entry in entries if not entry.is_past]
        delivery_id = f"msg_{self._journal.identity}_{entries[0].number}_{entries[-1].number}"
        if told and not await self._send(delivery_id, _body(told)):
            return False
        await asyncio.to_thread(self._journal.remember, SENT_FACT, str(entries[-1].number))
        return True

    async def send_status(self) -> bool:
        """Send the present state of all units; True when it was taken."""
        said = await asyncio.to_thread(self._world.status)
        batch = wire.Batch(entries=tuple(translate.entry_from(one) for one in said))
        delivery_id = f"sta_{self._journal.identity}_{translate.stamp_from(self._clock.now())}"
        return await self._send(delivery_id, batch.model_dump_json(by_alias=True).encode())

    async def _send(self, delivery_id: str, body: bytes) -> bool:
        is_taken = await self._post(delivery_id, body)
        if is_taken and Random(delivery_id).random() < self._hook.duplicate_rate:
            await self._post(delivery_id, body)
        return is_taken

    async def _post(self, delivery_id: str, body: bytes) -> bool:
        sent_at = self._clock.now()
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": signature(self._hook.secret, delivery_id=delivery_id, sent_at=sent_at, body=body),
        }
        try:
            answer = await self._transport.call("POST", self._hook.url, body=body, headers=headers)
        except (Unavailable, Rejected) as error:
            self._note(error.message)
            return False
        self._note(None if answer.status < 300 else f"the receiver answered {answer.status}")
        return answer.status < 300

    def _note(self, trouble: str | None) -> None:
        self._tries = self._tries + 1 if trouble else 0
        if trouble and not self._is_away:
            log.warning("webhook is not taken", url=self._hook.url, why=trouble)
        elif self._is_away and not trouble:
            log.info("webhook is taken again", url=self._hook.url)
        self._is_away = trouble is not None


def _body(entries: list[FeedEntry]) -> bytes:
    return ('{"entries":[' + ",".join(entry.entry for entry in entries) + "]}").encode()
