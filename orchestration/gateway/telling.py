"""What robots say, on its way to the platform: reports of orders from the journal's spool, the rest as it is now.

One telling is under way at a time, and the next waits for its acknowledgement, so that a platform that is slow or away
costs no memory: of observations only the newest of each robot is kept, and those passed over are counted.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from fleet.adapter import Happening, Observation, OrderReport
from fleet.errors import Invalid, Unavailable
from fleet.journal import JournalFile, Spooled
from fleet.link_frames import FRAME_MAX_BYTES, Tell, TellExposure, TellHeard, batches
from fleet.push import Exposure, Heard, Told, events_from, to_bytes
from fleet.timepieces import Clock

log = structlog.get_logger(__name__)

OBSERVE_S = 1.0  # how often robots are shown anew while they only move
SPOOLED_MAX = 200  # in one frame
NEWS_S = 0.1  # an observation that shows another activity or order goes so soon
Place = tuple[str, str]
Frame = Tell | TellHeard | TellExposure


class Telling:
    """Everything that is still to be told; `carry` tells it over a line."""

    def __init__(self, file: JournalFile, clock: Clock) -> None:
        """`file` has the spool."""
        self._file, self._clock = file, clock
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._has_spooled = True
        self._heard: dict[Place, Heard] = {}
        self._heard_told: dict[Place, Heard] = {}
        self._exposures: dict[Place, Exposure] = {}
        self._digests: dict[Place, str] = {}
        self._observations: dict[Place, Observation] = {}
        self._shown: dict[Place, tuple[object, object]] = {}
        self._shown_at = -OBSERVE_S
        self._boot, self._number = secrets.token_hex(4), 0
        self._acked, self._awaited = asyncio.Event(), ""
        self._spooling: set[asyncio.Task[None]] = set()
        self.passed_over = 0
        file.on_spooled = self._spooled

    def take(self, account: str, said: Told) -> None:
        """Keep it until it is told."""
        match said:
            case OrderReport() | Happening():
                task = asyncio.create_task(self._keep(partial(self._file.spool, account, [to_bytes([said])])))
                self._spooling.add(task)
                task.add_done_callback(self._kept)
                return
            case Observation():
                place = account, said.serial_number
                self.passed_over += place in self._observations
                self._observations[place] = said
            case Heard():
                self._heard[account, said.serial_number] = said
            case Exposure():
                self._exposures[account, said.serial_number] = said
        self._news.set()

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._spooling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what a robot said could not be kept", exc_info=error)

    def forget(self, held: frozenset[Place]) -> None:
        """Of other robots than these nothing more is told but what was spooled."""
        kept: tuple[dict[Place, object], ...] = (self._heard, self._exposures, self._observations)  # type: ignore[assignment]
        for known in kept:
            for place in [place for place in known if place not in held]:
                del known[place]

    def anew(self, digests: dict[Place, str]) -> None:
        """A line was opened: how robots are heard is told again, and what they expose where the platform's digest differs."""
        self._heard_told = {}
        self._digests = dict(digests)
        self._has_spooled = True
        self._news.set()

    def acked(self, key: str) -> None:
        """The platform has what was told under this key."""
        if key == self._awaited:
            self._acked.set()

    async def carry(self, say: Callable[[Frame], Awaitable[None]]) -> None:
        """Tell everything over a line, for as long as it holds."""
        while True:
            self._news.clear()
            if await self._tell_spooled(say) or await self._tell_heard(say) or await self._tell_exposure(say):
                continue
            wait_s = self._until_shown_s()
            if self._observations and wait_s <= 0:
                await self._tell_observations(say)
                continue
            try:
                async with asyncio.timeout(wait_s if self._observations else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _keep(self, work: Callable[[], None]) -> None:
        while True:
            try:
                return await asyncio.to_thread(work)
            except Unavailable as error:  # a full disk, say
                log.error("what robots said waits for the journal", error=error.message)
                await asyncio.sleep(OBSERVE_S)

    def _spooled(self) -> None:
        def wake() -> None:
            self._has_spooled = True
            self._news.set()

        self._loop.call_soon_threadsafe(wake)

    async def _tell_spooled(self, say: Callable[[Frame], Awaitable[None]]) -> bool:
        if not self._has_spooled:
            return False
        self._has_spooled = False
        waiting = await asyncio.to_thread(self._file.waiting, limit=SPOOLED_MAX)
        if not waiting:
            return False
        account, body, count = batches([(one.account, one.body) for one in _readable(waiting)])
        last = waiting[count - 1].number
        # What it says is in its key: a journal that was put back from a copy counts the same numbers anew.
        key = f"{waiting[0].number}-{last}-{hashlib.sha256(body).hexdigest()[:16]}"
        frame = Tell(key=key, account=account, reports=body.decode(errors="replace"))
        if _is_too_large(frame):
            log.error("a report is too large to be told; it is dropped", account=account, bytes=len(body))
        else:
            await self._say(say, frame)
        await self._keep(partial(self._file.told, last))
        self._has_spooled = True
        return True

    async def _tell_heard(self, say: Callable[[Frame], Awaitable[None]]) -> bool:
        changed = {place: heard for place, heard in self._heard.items() if self._heard_told.get(place) != heard}
        if not changed:
            return False
        account = next(iter(changed))[0]
        mine = {place: heard for place, heard in changed.items() if place[0] == account}
        await self._say(say, TellHeard(key=self._key("h"), account=account, heard=tuple(mine.values())))
        self._heard_told |= mine
        return True

    async def _tell_exposure(self, say: Callable[[Frame], Awaitable[None]]) -> bool:
        changed = next((one for one in self._exposures.items() if self._digests.get(one[0]) != one[1].digest), None)
        if changed is None:
            return False
        (account, address), exposure = changed
        self._digests[account, address] = exposure.digest
        frame = TellExposure(key=self._key("e"), account=account, exposure=exposure)
        if _is_too_large(frame):
            log.error("what a robot exposes is too much to be told", robot=address, endpoints=len(exposure.endpoints))
        else:
            await self._say(say, frame)
        return True

    def _until_shown_s(self) -> float:
        is_news = any(
            self._shown.get(place) != (seen.activity, seen.order_key) for place, seen in self._observations.items()
        )
        return self._shown_at + (NEWS_S if is_news else OBSERVE_S) - self._clock.monotonic()

    async def _tell_observations(self, say: Callable[[Frame], Awaitable[None]]) -> None:
        account = next(iter(self._observations))[0]
        mine = {place: seen for place, seen in self._observations.items() if place[0] == account}
        for place, seen in mine.items():
            del self._observations[place]
            self._shown[place] = seen.activity, seen.order_key
        if not self._observations:
            self._shown_at = self._clock.monotonic()
        body = to_bytes(list(mine.values()))
        await self._say(say, Tell(key=self._key("o"), account=account, reports=body.decode()))

    async def _say(self, say: Callable[[Frame], Awaitable[None]], frame: Frame) -> None:
        self._acked.clear()
        self._awaited = frame.key
        await say(frame)
        await self._acked.wait()

    def _key(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._boot}-{self._number}"


def _is_too_large(frame: Frame) -> bool:
    return len(frame.model_dump_json().encode()) > FRAME_MAX_BYTES


def _readable(waiting: Sequence[Spooled]) -> Sequence[Spooled]:
    """What can go together: up to the first that is no list of reports, or that one alone, for the platform to keep."""
    for number, one in enumerate(waiting):
        try:
            events_from(one.body)
        except Invalid as error:
            log.error("a spooled report cannot be read", number=one.number, error=error.message[:200])
            return waiting[:number] or waiting[:1]
    return waiting
