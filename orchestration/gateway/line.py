"""The gateway's line to the platform: dialled again whenever it breaks, while the robots' links go on as they are."""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from fleet.errors import Invalid, Rejected, Unauthorized, Unavailable
from fleet.link_frames import (
    BREATH_S,
    DISPLACED,
    PROTOCOL,
    SHUT_OUT,
    SILENCE_S,
    TO_GATEWAY_MAX_BYTES,
    Ack,
    Answer,
    Bye,
    Command,
    FromGateway,
    Hello,
    Hold,
    Ping,
    Pong,
    Welcome,
    from_platform,
)
from fleet.timepieces import Clock
from fleet.websocket import LineClosed, WebSocketLine, open_websocket
from orchestration.gateway.telling import Telling

log = structlog.get_logger(__name__)

AGAIN_FIRST_S, AGAIN_MAX_S = 0.2, 4.0
SHUT_OUT_S = 30.0  # whom the platform does not want, or who is displaced again and again, need not ask each second
ANSWERS_MAX, ANSWERS_MAX_BYTES = 2000, 16_000_000  # that wait for the line
VERSION = "1"


@dataclass(frozen=True)
class Address:
    """Where the platform is, and the token that opens its door."""

    url: str
    token: str
    journal: str
    ca: Path | None = None


@dataclass(frozen=True)
class Ears:
    """Who is told what the platform says."""

    welcome: Callable[[Welcome], None]
    hold: Callable[[Hold, float], None]
    pong: Callable[[float], None]
    command: Callable[[Command], None]


class Line:
    """Dials, listens and speaks until it is cancelled."""

    def __init__(self, address: Address, ears: Ears, telling: Telling, clock: Clock) -> None:
        """Nothing is dialled yet."""
        self._address, self._ears, self._telling, self._clock = address, ears, telling, clock
        self._answers: asyncio.Queue[str] = asyncio.Queue(ANSWERS_MAX)
        self._answer_bytes = 0
        self._pinged: dict[int, float] = {}
        self._number = 0
        self._again_s = AGAIN_FIRST_S
        self._open: WebSocketLine | None = None
        self._is_away = False
        self._displaced_at = -math.inf

    def answer(self, answer: Answer) -> None:
        """Send the answer as soon as there is a line; when too many wait, the platform asks again."""
        text = answer.model_dump_json()
        if self._answers.full() or self._answer_bytes + len(text) > ANSWERS_MAX_BYTES:
            log.warning("an answer is dropped: too many wait for the platform", command=answer.id)
            return
        self._answers.put_nowait(text)
        self._answer_bytes += len(text)

    async def run(self) -> None:
        """Keep the line up."""
        while True:
            rest_s = 0.0
            try:
                await self._once()
            except (Unauthorized, Rejected) as error:
                self._note_away(error.message)
                rest_s = SHUT_OUT_S
            except LineClosed as error:
                self._note_away(error.message)
                rest_s = self._rest_s(error.close_code)
            except Unavailable as error:
                self._note_away(error.message)
            except TimeoutError:
                self._note_away(f"nothing was heard of it for {SILENCE_S:.0f} s")
            self._again_s = min(2 * self._again_s, AGAIN_MAX_S)
            await asyncio.sleep(max(rest_s, self._again_s) * random.uniform(0.5, 1.0))

    def _rest_s(self, close_code: int) -> float:
        """How long not to dial; who is displaced once dials again, for that may have been a late hello of his own."""
        if close_code != DISPLACED:
            return SHUT_OUT_S if close_code == SHUT_OUT else 0.0
        before, self._displaced_at = self._displaced_at, self._clock.monotonic()
        return SHUT_OUT_S if self._displaced_at - before < 2 * SHUT_OUT_S else 0.0

    async def leave(self) -> None:
        """Say goodbye, where there is a line: the robots are free for others at once."""
        if self._open is not None:
            await self._open.say(Bye().model_dump_json())

    async def _once(self) -> None:
        headers = {"Authorization": f"Bearer {self._address.token}"}
        async with open_websocket(
            self._address.url, headers=headers, ca=self._address.ca, message_max_bytes=TO_GATEWAY_MAX_BYTES
        ) as line:
            self._pinged = {0: self._clock.monotonic()}  # the hello is answered as a ping of this number
            await line.say(Hello(protocol=PROTOCOL, journal=self._address.journal, version=VERSION).model_dump_json())
            works = (self._listen(line), self._breathe(line), self._speak(line))
            tasks = [asyncio.ensure_future(work) for work in works]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._open = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, line: WebSocketLine) -> None:
        telling: asyncio.Task[None] | None = None
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    text = await line.hear()
                said = from_platform(text)
                if isinstance(said, Hold) and telling is None:
                    self._note_there(line)
                    self._telling.anew({(one.account, one.address): one.digest for one in said.robots})
                    telling = asyncio.create_task(self._telling.carry(lambda frame: self._say(line, frame)))
                self._hear(said)
                if telling is not None and telling.done():
                    telling.result()
        except Invalid as error:
            raise Unavailable(f"The platform says what this gateway does not understand: {error.message}") from None
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    def _hear(self, said: Welcome | Hold | Pong | Command | Ack) -> None:
        match said:
            case Welcome():
                self._ears.welcome(said)
            case Hold():
                self._ears.hold(said, self._asked_at(said.number) + said.lease_s)
            case Pong():
                self._ears.pong(self._asked_at(said.number) + said.lease_s)
            case Command():
                self._ears.command(said)
            case Ack():
                self._telling.acked(said.key)

    def _asked_at(self, number: int) -> float:
        """When what this answers was said: the lease was renewed after that, so that it holds at least so long."""
        return self._pinged.pop(number, self._clock.monotonic() - BREATH_S)

    async def _breathe(self, line: WebSocketLine) -> None:
        while True:
            await asyncio.sleep(BREATH_S)
            self._number += 1
            self._pinged = {number: at for number, at in self._pinged.items() if number > self._number - 10}
            self._pinged[self._number] = self._clock.monotonic()
            await self._say(line, Ping(number=self._number))

    async def _speak(self, line: WebSocketLine) -> None:
        while True:
            text = await self._answers.get()
            self._answer_bytes -= len(text)
            await line.say(text)

    async def _say(self, line: WebSocketLine, frame: FromGateway) -> None:
        await line.say(frame.model_dump_json())

    def _note_there(self, line: WebSocketLine) -> None:
        self._open, self._again_s, self._is_away = line, AGAIN_FIRST_S, False
        log.info("the platform is there", url=self._address.url)

    def _note_away(self, why: str) -> None:
        if not self._is_away:
            log.warning("the platform is away; robots go on with what they have", why=why)
        self._is_away = True
