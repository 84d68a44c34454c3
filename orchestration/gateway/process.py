"""The gateway as a process: the accounts it serves come and go by what the platform says, the robots by its leases.

While the platform is away, orders that a robot has go on and their reports are spooled; nothing new begins. A gateway
that begins while the platform is away takes up again what it had, unless another gateway may have taken it over.
"""

import asyncio
import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from pydantic import ValidationError

from fleet.errors import Conflict, Unavailable
from fleet.journal import JournalFile
from fleet.link_frames import HeldRobot, Hold, ServedAccount, Welcome
from fleet.timepieces import Clock, SystemClock
from orchestration.gateway.accounts import Account
from orchestration.gateway.commands import Commands, Leases
from orchestration.gateway.line import Address, Ears, Line
from orchestration.gateway.telling import Telling

log = structlog.get_logger(__name__)

ALONE_S = 5.0  # how long a gateway that begins waits for the platform, before it takes up what it had
GRACE_S = 3.0
COUNT_S = 60.0
LAPSE_LOOK_S, LAPSE_MARGIN_S = 1.0, 2.0  # nothing goes on by itself when another gateway may hold the robot
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Gateway:
    """One gateway; `run` goes on until it is cancelled."""

    def __init__(self, address: Address, file: JournalFile, clock: Clock) -> None:
        """`file` is this gateway's journal, which no other process has open."""
        self._file, self._clock = file, clock
        self._accounts: dict[str, Account] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._leases = Leases(clock)
        self._telling = Telling(file, clock)
        self._commands = Commands(self._accounts, self._leases, lambda answer: self._line.answer(answer))
        ears = Ears(self._welcomed, self._holds, self._renewed, self._commands.take)
        self._line = Line(address, ears, self._telling, clock)
        self._is_told = False
        self._robots: tuple[HeldRobot, ...] = ()
        self._has_lapsed = False
        self._keeping: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve; ends when it is cancelled, in good order. What no part of it could mend is raised, and ends it."""
        works = [self._line.run(), self._take_up(), self._watch_leases(), self._count()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks, self._failure)
        finally:
            await asyncio.gather(self._leave(), return_exceptions=True)
            for task in (*tasks, *self._runs.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._runs.values(), *self._keeping, return_exceptions=True)

    async def _leave(self) -> None:
        await self._commands.close()
        async with asyncio.timeout(GRACE_S):
            await self._line.leave()

    def _welcomed(self, said: Welcome) -> None:
        self._is_told = True
        self._serve(said.accounts)
        self._keep("accounts", said.model_dump_json())

    def _holds(self, said: Hold, until: float) -> None:
        self._leases.renew(until)
        self._has_lapsed, self._robots = False, said.robots
        self._hold(said.robots)
        self._keep("robots", said.model_dump_json())

    def _renewed(self, until: float) -> None:
        self._leases.renew(until)
        if self._has_lapsed:  # nobody took them meanwhile: the platform would have said so
            self._has_lapsed = False
            self._hold(self._robots)

    async def _watch_leases(self) -> None:
        """Robots that another gateway may take over are let go of in time: what runs at them goes on, nothing is begun."""
        while True:
            await asyncio.sleep(LAPSE_LOOK_S)
            if self._has_lapsed or self._leases.last(LAPSE_MARGIN_S):
                continue
            self._has_lapsed = True
            for account in self._accounts.values():
                if account.served.is_shared and account.held:
                    log.warning("out of touch with the platform: its robots are let go of", account=account.served.name)
                    account.hold({})

    def _keep(self, name: str, value: str) -> None:
        task = asyncio.create_task(self._write_fact(name, value))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _write_fact(self, name: str, value: str) -> None:
        try:
            await asyncio.to_thread(self._file.keep_fact, name, value)
        except Unavailable as error:  # it is only of use when the platform is away as this gateway begins
            log.error("what the platform said was not kept", error=error.message)

    def _serve(self, wanted: tuple[ServedAccount, ...]) -> None:
        named = {served.id: served for served in wanted}
        ending: dict[str, asyncio.Task[None]] = {}
        for account_id, account in list(self._accounts.items()):
            if account_id not in named or not _is_same(named[account_id], account.served):
                del self._accounts[account_id]
                ending[account_id] = self._runs.pop(account_id)
                ending[account_id].cancel()
        for account_id, served in named.items():
            if account_id not in self._accounts:
                account = Account(served, self._file, tell=self._telling.take, clock=self._clock)
                self._accounts[account_id] = account
                run = self._runs[account_id] = asyncio.create_task(_run_after(ending.get(account_id), account))
                run.add_done_callback(self._account_ended)
            self._accounts[account_id].served = served  # it may be shared from now on

    def _account_ended(self, run: asyncio.Task[None]) -> None:
        if not run.cancelled() and (error := run.exception()) is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _hold(self, robots: tuple[HeldRobot, ...]) -> None:
        held = frozenset((robot.account, robot.address) for robot in robots)
        self._leases.hold(held)
        self._telling.forget(held)
        for account_id, account in self._accounts.items():
            account.hold({robot.address: robot.epoch for robot in robots if robot.account == account_id})

    async def _take_up(self) -> None:
        """Begin with what this gateway had last, before the platform has said anything.

        The links are opened at once, for that takes its time; robots are held without the platform only where no other
        gateway may have taken them.
        """
        try:
            accounts = Welcome.model_validate_json(self._file.fact("accounts") or "")
            robots = Hold.model_validate_json(self._file.fact("robots") or "")
        except ValidationError:
            return  # it never was told
        self._serve(accounts.accounts)
        await asyncio.sleep(ALONE_S)
        if self._is_told:
            return
        mine = {served.id for served in accounts.accounts if not served.is_shared}
        held = tuple(robot for robot in robots.robots if robot.account in mine)
        log.info("the platform is away since this gateway began; it goes on with what it had", robots=len(held))
        self._hold(held)

    async def _count(self) -> None:
        counted = 0
        while True:
            await asyncio.sleep(COUNT_S)
            if self._telling.passed_over > counted:
                log.info("observations were passed over for newer ones", count=self._telling.passed_over - counted)
            counted = self._telling.passed_over


def _is_same(one: ServedAccount, other: ServedAccount) -> bool:
    return one.model_copy(update={"is_shared": other.is_shared}) == other


async def _run_after(ending: asyncio.Task[None] | None, account: Account) -> None:
    if ending is not None:  # one journal, one adapter
        await asyncio.gather(ending, return_exceptions=True)
    await account.run()


async def run(url: str, token: str, journal: Path, *, ca: Path | None = None) -> None:
    """Be a gateway until SIGTERM or SIGINT, then end within a few seconds; nothing is lost by ending at any point.

    Raises:
        Conflict: another process has this journal.
        Unavailable: the journal cannot be read or written.
    """
    with _alone(journal):
        file = JournalFile(journal)
        name = await asyncio.to_thread(_journal_id, file)
        gateway = Gateway(Address(url, token, name, ca), file, SystemClock())
        running = asyncio.ensure_future(gateway.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        log.info("gateway started", url=url, journal=str(journal))
        if urlsplit(url).scheme == "ws" and urlsplit(url).hostname not in LOOPBACK:
            log.warning("the line to the platform is not encrypted, and credentials go over it; use wss://", url=url)
        try:
            await asyncio.gather(running, return_exceptions=True)
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error
        finally:
            file.close()
    log.info("gateway ended")


def _journal_id(file: JournalFile) -> str:
    known = file.fact("id")
    if known is None:
        known = uuid4().hex
        file.keep_fact("id", known)
    return known


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        opened = journal.with_name(f"{journal.name}.lock").open("a")
    except OSError as error:
        raise Unavailable(f"The journal {journal} cannot be written: {error.strerror}; choose another place.") from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another gateway has the journal {journal}; end it, or choose another journal.") from None
        yield


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        Unavailable: it cannot be read, or is empty.
    """
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise Unavailable(f"The token cannot be read from {path}: {error.strerror}.") from None
    if not token:
        raise Unavailable(f"{path} is empty; `yardmaster gateways add` writes the token.")
    return token
