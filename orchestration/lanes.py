"""Lanes and links of the dispatcher: one piece of work a robot at a time, one open link an account."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack
from uuid import UUID

import structlog

from fleet.accounts import ManufacturerAccount
from fleet.adapter import Adapter, AdapterAccount
from fleet.adapters import opener, push_manufacturers
from orchestration.gateway_link import GatewayLink, Switchboard

log = structlog.get_logger(__name__)

LANES_MAX = 256
SHARE_MAX = 32  # of one account, so that a cloud that answers nobody leaves lanes for the others


class Room:
    """How much may be started now, counted down as it is given away; the lanes themselves take no notice."""

    def __init__(self, taken: Collection[UUID], free: int, share: int, shares: Mapping[UUID, int]) -> None:
        """`taken` are the busy keys, `free` the lanes left, of which an account may have `share`; `shares` has it now."""
        self._taken = set(taken)
        self._free, self._share, self._shares = free, share, Counter(shares)

    def take(self, key: UUID, account: UUID) -> bool:
        """Whether the lane of `key` may be started, which counts as begun from now on."""
        if key in self._taken or not self._free or self._shares[account] >= self._share:
            return False
        self._taken.add(key)
        self._free -= 1
        self._shares[account] += 1
        return True

    @property
    def busy(self) -> frozenset[UUID]:
        """The keys whose lanes are taken."""
        return frozenset(self._taken)

    @property
    def free(self) -> int:
        """How many lanes more may be started."""
        return self._free

    @property
    def crowded(self) -> frozenset[UUID]:
        """The accounts that have their whole share of lanes."""
        return frozenset(account for account, count in self._shares.items() if count >= self._share)


class Lanes:
    """Runs work beside each other, at most one at a time for each key: a slow robot delays nobody else."""

    def __init__(self, ended: Callable[[], None], *, width: int = LANES_MAX, share: int = SHARE_MAX) -> None:
        """`ended` is called whenever a lane is free again; `width` may be busy at once, `share` of one account."""
        self._ended = ended
        self._width, self._share = width, share
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._accounts: dict[UUID, UUID] = {}

    @property
    def busy(self) -> frozenset[UUID]:
        """The keys whose lanes are taken."""
        return frozenset(self._tasks)

    @property
    def free(self) -> int:
        """How many lanes more may be started now."""
        return self._width - len(self._tasks)

    @property
    def crowded(self) -> frozenset[UUID]:
        """The accounts that have their whole share of lanes."""
        return frozenset(account for account, count in Counter(self._accounts.values()).items() if count >= self._share)

    @property
    def room(self) -> Room:
        """A copy of what may be started, for somebody who plans in another thread."""
        return Room(self.busy, self.free, self._share, Counter(self._accounts.values()))

    def start(self, key: UUID, work: Callable[[], Coroutine[None, None, None]], *, account: UUID | None = None) -> bool:
        """Begin `work` in the lane of `key`; False, and nothing begun, when it is taken, all are, or the account's share is."""
        if key in self._tasks or not self.free or account in self.crowded:
            return False
        task = asyncio.create_task(work())
        self._tasks[key] = task
        if account is not None:
            self._accounts[key] = account
        task.add_done_callback(lambda done: self._end(key, done))
        return True

    def answered(self, key: UUID) -> None:
        """The account of this lane has answered: what is left to do in it takes nothing of the account's share."""
        self._accounts.pop(key, None)

    def _end(self, key: UUID, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        self._accounts.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a lane ended with an error; its work is taken up again", lane=str(key), exc_info=error)
        self._ended()

    async def idle(self) -> None:
        """Wait until every lane that is busy now is free."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def close(self) -> None:
        """End what is under way; the database knows what was not settled, and it is taken up again by the next."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Links:
    """The open links to accounts; one whose row has changed is opened anew, and the old one ends with the process."""

    def __init__(self, switchboard: Switchboard | None = None) -> None:
        """Nothing is open yet; without a `switchboard` no robot behind a gateway is reached."""
        self._switchboard = switchboard
        self._stack = AsyncExitStack()
        self._open: dict[UUID, tuple[AdapterAccount, Adapter]] = {}
        self._lock = asyncio.Lock()

    async def to(self, account: ManufacturerAccount) -> Adapter:
        """The link to the account's robots.

        Raises:
            NotFound: there is no adapter for this manufacturer.
            Invalid: the account's address is none.
        """
        if account.manufacturer in push_manufacturers() and self._switchboard is not None:
            return GatewayLink(account, self._switchboard)
        wanted = AdapterAccount(name=account.name, base_url=account.base_url, credential=account.credential)
        async with self._lock:
            found = self._open.get(account.id)
            if found is None or found[0] != wanted:
                adapter = await self._stack.enter_async_context(opener(account.manufacturer)(wanted))
                found = self._open[account.id] = (wanted, adapter)
        return found[1]

    async def close(self) -> None:
        """Close every link."""
        if self._switchboard is not None:
            await self._switchboard.close()
        await self._stack.aclose()
