"""What the platform asks of robots is done: one thing at a time for each robot, many robots beside each other."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from fleet.adapter import Refused, Unknown, Unsupported
from fleet.errors import Conflict, NotFound, YardmasterError
from fleet.link_frames import FRAME_MAX_BYTES, Answer, Command, Discovered, Missing, Outcome
from fleet.push import PushAdapter
from fleet.timepieces import Clock
from orchestration.gateway.accounts import STUMBLES, Account

log = structlog.get_logger(__name__)

ANSWERS_KEPT, ANSWERS_KEPT_BYTES = (
    2000,
    8_000_000,
)  # the newest ones; one that was forgotten is done again, or asked again
WAITING_MAX = 8  # commands to one robot, and to the account as a whole; the platform asks for one after the other
BUSY_MAX = 512
ENVELOPE_BYTES = 200  # of an answer beside its outcome


class Leases:
    """Which robots this gateway holds, and until when that is sure; by its own clock, from before it asked."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is held yet."""
        self._clock = clock
        self._robots: frozenset[tuple[str, str]] = frozenset()
        self._until = 0.0

    def renew(self, until: float) -> None:
        """What is held is sure until `until` (monotonic)."""
        self._until = max(self._until, until)

    def hold(self, robots: frozenset[tuple[str, str]]) -> None:
        """From now on these (account, address) are held."""
        self._robots = robots

    def last(self, seconds: float) -> bool:
        """Whether what is held is sure for so long yet."""
        return self._clock.monotonic() + seconds < self._until

    def why_not(self, account: str, address: str) -> str:
        """Why nothing new may be begun on the robot; empty when it may."""
        if (account, address) not in self._robots:
            return "this gateway does not hold the robot"
        if self._clock.monotonic() >= self._until:
            return "this gateway was out of touch for longer than its lease, so that another may hold the robot by now"
        return ""


class Commands:
    """Carries commands out and answers each; the same one again gets the same answer."""

    def __init__(self, accounts: Mapping[str, Account], leases: Leases, answer: Callable[[Answer], None]) -> None:
        """`accounts` by their ids, as they come and go; `answer` is called with every answer."""
        self._accounts, self._leases, self._answer = accounts, leases, answer
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._answered: OrderedDict[str, tuple[Outcome, int]] = OrderedDict()
        self._answered_bytes = 0
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()

    def take(self, command: Command) -> None:
        """Begin to carry it out, unless that was done or is under way."""
        if command.id in self._answered:
            self._answer(Answer(id=command.id, outcome=self._answered[command.id][0]))
        elif command.id not in self._under_way:
            if len(self._under_way) >= BUSY_MAX:
                self._answer(Answer(id=command.id, outcome=Unknown(why="the gateway has too much to do")))
                return
            task = asyncio.create_task(self._carry_out(command))
            self._under_way[command.id] = task
            task.add_done_callback(partial(self._ended, command.id))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a command could not be carried out", command=name, exc_info=error)
            why = f"the gateway failed over it: {type(error).__name__}: {error}"
            self._answer(Answer(id=name, outcome=Unknown(why=why[:500])))

    async def close(self) -> None:
        """Stop waiting for answers; the journal knows what was begun."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, command: Command) -> None:
        outcome, size = _sayable(await self._outcome(command))
        self._keep(command.id, outcome, size)
        self._answer(Answer(id=command.id, outcome=outcome))

    def _keep(self, name: str, outcome: Outcome, size: int) -> None:
        self._answered[name] = outcome, size
        self._answered_bytes += size
        while len(self._answered) > ANSWERS_KEPT or self._answered_bytes > ANSWERS_KEPT_BYTES:
            self._answered_bytes -= self._answered.popitem(last=False)[1][1]

    async def _outcome(self, command: Command) -> Outcome:
        place = command.account, command.address
        if self._waiting[place] >= WAITING_MAX:
            return Unknown(why="too many commands wait for this robot at the gateway")
        self._waiting[place] += 1
        try:
            async with asyncio.timeout(command.within_s), self._locks.setdefault(place, asyncio.Lock()):
                return await self._certain(command, await self._ask(command))
        except TimeoutError:
            return Unknown(why=f"the robot did not answer the gateway within {command.within_s:.0f} s")
        except NotFound as error:
            return Missing(why=error.message)
        except Conflict as error:  # an older fence: nothing was sent
            words = error.message
            return Refused(reason=words) if command.what == "submit" else Unsupported(reason=words)
        except YardmasterError as error:
            return Unknown(why=error.message)
        except STUMBLES as error:
            log.exception("a link to robots failed", account=command.account, robot=command.address)
            return Unknown(why=f"the link to the robot failed: {type(error).__name__}: {error}"[:500])
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]
                self._locks.pop(place, None)

    async def _certain(self, command: Command, outcome: Outcome) -> Outcome:
        """The outcome; that nothing was sent is said only of a key that was not let in before this gateway began anew either."""
        if not isinstance(outcome, Unknown) or not outcome.is_unsent:
            return outcome
        account = self._accounts.get(command.account)
        known = account is None or await asyncio.to_thread(account.journal.entry, command.key) is not None
        return outcome.model_copy(update={"is_unsent": not known})

    async def _ask(self, command: Command) -> Outcome:
        account = self._accounts.get(command.account)
        if account is None:
            return Unknown(why="this gateway does not serve the account")
        await account.tried()
        adapter = account.adapter
        if adapter is None:
            return Unknown(why=f"the link of {account.served.name} is away: {account.trouble}", is_unsent=True)
        if command.what == "discover":
            return Discovered(robots=tuple(await adapter.discover()))
        if command.what == "exposure":
            return await adapter.exposure(command.address)
        await account.settle(adapter)
        why_not = self._leases.why_not(command.account, command.address)
        if why_not and (command.what != "query" or command.inheritance is not None):
            return Unknown(why=why_not, is_unsent=True)
        if command.inheritance is not None and (doubt := await _inherit(adapter, command)) is not None:
            return doubt
        return await _tell(adapter, command)


def _sayable(outcome: Outcome) -> tuple[Outcome, int]:
    """The outcome with its bytes, unless a frame does not hold it: the line would be closed for it again and again."""
    size = len(outcome.model_dump_json().encode())
    if size + ENVELOPE_BYTES <= FRAME_MAX_BYTES:
        return outcome, size
    return Unknown(why=f"the answer has {size} bytes, and at most {FRAME_MAX_BYTES} can be told"), ENVELOPE_BYTES


async def _inherit(adapter: PushAdapter, command: Command) -> Unknown | None:
    """Go on with an order that another gateway may have begun; why not, when it is not certain how it stands."""
    if command.order is None or command.inheritance is None:
        return Unknown(why="another gateway may have begun the order, and what it was is not remembered")
    doubt = await adapter.inherit(command.order, command.inheritance)
    if doubt is not None:
        log.warning("how an order of another gateway stands is not known", order=command.key, why=doubt.why)
    return doubt


def _tell(adapter: PushAdapter, command: Command) -> Awaitable[Outcome]:
    robot, key, fence = command.address, command.key, command.fence
    match command.what:
        case "cancel":
            return adapter.cancel(robot, key, fence)
        case "pause":
            return adapter.pause(robot, key, fence)
        case "resume":
            return adapter.resume(robot, key, fence)
        case "submit" if command.order is not None:
            return adapter.submit(command.order)
        case _:
            return adapter.query(robot, key)
