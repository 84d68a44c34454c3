"""One account's link, opened and opened again, whatever becomes of it: one that fails keeps no other from its work."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime

import structlog

from fleet.adapters import push_opener
from fleet.errors import YardmasterError
from fleet.journal import JournalFile
from fleet.link_frames import ServedAccount
from fleet.push import Heard, Hearing, PushAccount, PushAdapter, Told
from fleet.timepieces import Clock

log = structlog.get_logger(__name__)

AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 10.0  # robots are out of reach until then
LASTS_S = 30.0  # a link that was open for so long is opened again at once when it fails
OPENING_S = 8.0  # whoever is told that a link is away asks again only some seconds later
# What an adapter that does not understand its robots, or its library, can raise when it is asked something.
STUMBLES = (
    YardmasterError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    OSError,
    ImportError,
)


class Account:
    """An account that this gateway serves; `run` goes on until it is cancelled."""

    def __init__(
        self, served: ServedAccount, file: JournalFile, *, tell: Callable[[str, Told], None], clock: Clock
    ) -> None:
        """`tell` is called with the account's id and what its robots say; `file` keeps what must not be forgotten."""
        self.served = served
        self.journal = file.of(served.id)
        self._tell, self._clock = tell, clock
        self._held: dict[str, int] = {}
        self._settled: dict[str, int] = {}
        self._changed, self._tried = asyncio.Event(), asyncio.Event()
        self._is_holding = asyncio.Lock()
        self.adapter: PushAdapter | None = None
        self.trouble = "it is being opened"

    @property
    def held(self) -> frozenset[str]:
        """The addresses of the robots that this gateway holds."""
        return frozenset(self._held)

    def hold(self, epochs: Mapping[str, int]) -> None:
        """From now on these addresses are held, each under a lease of this epoch."""
        if epochs != self._held:
            self._held = dict(epochs)
            self._changed.set()

    async def tried(self) -> None:
        """Return when the link was opened once, or could not be: who asks in the first moment need not ask again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENING_S):
                await self._tried.wait()

    async def run(self) -> None:
        """Keep the link open."""
        again_s = AGAIN_FIRST_S
        while True:
            began = self._clock.monotonic()
            (error,) = await asyncio.gather(self._serve(), return_exceptions=True)  # whatever it is, it is opened again
            if error is not None and not isinstance(error, YardmasterError):
                log.error("a link failed", account=self.served.name, exc_info=error)
            self._note_trouble(_words(error)[:300])
            again_s = AGAIN_FIRST_S if self._clock.monotonic() - began > LASTS_S else min(2 * again_s, AGAIN_MAX_S)
            await asyncio.sleep(again_s * random.uniform(0.5, 1.0))

    async def _serve(self) -> None:
        served = self.served
        wanted = PushAccount(
            name=served.name, url=served.url, credential=served.credential, options=dict(served.options)
        )
        async with push_opener(served.manufacturer)(wanted, self.journal) as adapter:
            self._changed.set()
            await self.settle(adapter)
            self.adapter, self.trouble = adapter, ""
            self._tried.set()
            log.info("a link is open", account=served.name, robots=len(self._held))
            try:
                await _first_to_end(self._listen(adapter), self._follow(adapter))
            finally:
                self.adapter = None

    async def _listen(self, adapter: PushAdapter) -> None:
        async for said in adapter.told():
            self._tell(self.served.id, said)

    async def _follow(self, adapter: PushAdapter) -> None:
        while True:
            await self._changed.wait()
            await self.settle(adapter)

    async def settle(self, adapter: PushAdapter) -> None:
        """Tell the adapter which robots are held, where that has changed: before the first command to a new one."""
        async with self._is_holding:
            if not self._changed.is_set():
                return
            self._changed.clear()  # before it is begun: what changes meanwhile is told next
            is_done = False
            held = dict(self._held)
            try:
                await self._let_go_of_others(adapter, held)
                await adapter.hold(frozenset(held))
                self._settled = held
                is_done = True
            finally:
                if not is_done:
                    self._changed.set()

    async def _let_go_of_others(self, adapter: PushAdapter, held: Mapping[str, int]) -> None:
        """What another gateway held meanwhile is begun anew: its orders are asked about, not gone on with from memory."""
        changed = {address for address, epoch in held.items() if self._settled.get(address, epoch) != epoch}
        if changed:
            await adapter.hold(frozenset(held) - changed)
        forgotten = await asyncio.to_thread(self.journal.hold, held)
        if forgotten:
            log.info("another gateway held robots meanwhile; their orders are asked about", orders=len(forgotten))

    def _note_trouble(self, why: str) -> None:
        if why != self.trouble:
            log.warning("a link is away; it is opened again", account=self.served.name, why=why)
        self.trouble = why
        self._tried.set()
        now: datetime = self._clock.now()
        for address in self._held:
            self._tell(
                self.served.id,
                Heard(serial_number=address, hearing=Hearing.trouble, since=now, why=f"the link is away: {why}"),
            )


def _words(error: BaseException | None) -> str:
    if error is None:
        return "it ended by itself"
    return error.message if isinstance(error, YardmasterError) else f"{type(error).__name__}: {error}"


async def _first_to_end(*works: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
