"""The site's robots together: what they are asked, what they say, in steps of a fixed simulated time.

Instants are wall-clock ones handed in; the simulation runs `speed` times faster between them. The same orders in the
same steps give the same world.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock

from fleet.adapter import (
    Accepted,
    Acknowledged,
    DiscoveredRobot,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    Reported,
    TaskKind,
    Unsupported,
)
from fleet.adapters.simulated import battery, execution, history, site_map
from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.hazards import Hazards
from fleet.adapters.simulated.journal import Captured, Journal, Keep
from fleet.adapters.simulated.local_orders import FORGOTTEN, Look, is_local, key_of, known_to_cloud
from fleet.adapters.simulated.policy import Policy
from fleet.adapters.simulated.policy_desk import PolicyDesk
from fleet.adapters.simulated.recorder import Recording
from fleet.adapters.simulated.recordings import Recordings
from fleet.adapters.simulated.robot import Memory, SimulatedRobot
from fleet.errors import NotFound

TICK_S = 0.5
BEHIND_AT_MOST = timedelta(seconds=5)
SAVED_EVERY = timedelta(seconds=5)
REMEMBERED = 100


@dataclass(frozen=True)
class Plan:
    """How the site is set up."""

    seed: int = 7
    robots: int = 4
    speed: float = 20.0
    failure_rate: float = 0.0
    blocked_once: Sequence[str] = ()
    history_lives: int = 2
    remembers_local_orders: bool = False


class World:
    """All robots of the site; may be asked from several threads. Whatever it says is in the journal first."""

    def __init__(self, plan: Plan, journal: Journal, opened_at: datetime) -> None:
        """Take up what the journal remembers; a new journal begins with the robots' past."""
        self.plan, self.journal, self.at = plan, journal, opened_at
        self._lock = RLock()
        self._tick_wall = timedelta(seconds=TICK_S / plan.speed)
        self._saved_at = opened_at
        self._recordings = Recordings(plan.seed)
        self._desk = PolicyDesk(journal, plan.seed, TICK_S)
        self._blocked_spent = set(json.loads(journal.fact("blocked_spent") or "[]"))
        self.hazards = Hazards(plan.seed, plan.failure_rate, set(plan.blocked_once) - self._blocked_spent)
        self.opened_at = self._first_opened_at(opened_at)
        self.robots = self._robots()
        for order, report in journal.live_orders():
            if order.serial_number in self.robots:
                self.robots[order.serial_number].take_up(order, report)
                if is_local(order.key) and not plan.remembers_local_orders:
                    self._forget(self.robots[order.serial_number])
        self._desk.take_up(self.robots)

    def _first_opened_at(self, opened_at: datetime) -> datetime:
        known = self.journal.fact("opened_at")
        if known:
            return datetime.fromisoformat(known)
        told = history.happenings([life for robot in self._identities() for life in self._past(robot, opened_at)])
        self.journal.keep(Keep(told=told, facts=[("opened_at", opened_at.isoformat())], is_past=True))
        return opened_at

    def _forget(self, robot: SimulatedRobot) -> None:
        """What a robot was told directly is gone when it was started anew; it stands where it was."""
        news = robot.obey(OrderStatus.canceled, self.at, FORGOTTEN)
        self._keep([(robot, news)])

    def _identities(self) -> list[DiscoveredRobot]:
        return site_map.robots(self.plan.robots)

    def _past(self, robot: DiscoveredRobot, opened_at: datetime) -> list[history.PastLife]:
        return history.past_lives(self.plan.seed, robot, lives=self.plan.history_lives, opened_at=opened_at)

    def past(self) -> list[history.PastLife]:
        """The lives of all robots' drive motors up to the first opening of the site."""
        return [life for robot in self._identities() for life in self._past(robot, self.opened_at)]

    def _robots(self) -> dict[str, SimulatedRobot]:
        remembered = self.journal.memories()
        robots: dict[str, SimulatedRobot] = {}
        for index, identity in enumerate(self._identities()):
            kept = remembered.get(identity.serial_number)
            memory = Memory.model_validate_json(kept) if kept else self._newborn(index, identity)
            home = site_map.home_of(index)
            robots[identity.serial_number] = SimulatedRobot(identity, home, memory, self.hazards)
        return robots

    def _newborn(self, index: int, identity: DiscoveredRobot) -> Memory:
        home, present = site_map.home_of(index), self._past(identity, self.opened_at)[-1]
        fraction = battery.fraction_at_start(self.plan.seed, identity.serial_number)
        body = Body(home.x_m, home.y_m, yaw_rad=1.5, battery_fraction=fraction)
        return Memory(body=body, life=present.life.number, operating_h=present.hours)

    def advance(self, until: datetime) -> None:
        """Live on until this instant. A machine that slept does not make up for it: at most five seconds."""
        with self._lock:
            self.at = max(self.at, until - BEHIND_AT_MOST)
            while self.at + self._tick_wall <= until:
                self.at += self._tick_wall
                self._tick()
            if self.at - self._saved_at >= SAVED_EVERY:
                self.save()

    def _tick(self) -> None:
        told: list[tuple[SimulatedRobot, list[Reported]]] = []
        captured: list[Captured] = []
        for robot in self.robots.values():
            said = robot.tick(TICK_S, self.at)
            self._recordings.watch(robot, self.at)
            captured += self._desk.tick(robot, self.at, said)
            if said:
                told.append((robot, said))
        if told or captured:
            self._keep(told, captured)

    def recordings(self) -> list[Recording]:
        """The finished recordings since this was last asked."""
        with self._lock:
            return [*self._recordings.finished(), *self._desk.due()]

    def follow(self, serial_number: str, policy: Policy) -> None:
        """From now on the robot records as this policy says; what is asked for in it begins now, once."""
        with self._lock:
            self._desk.follow(self.robots[serial_number], policy, self.at)

    def stop_recording(self, serial_number: str) -> str:
        """Close what is recorded at this robot; gives the name of the bag, "" when nothing was."""
        with self._lock:
            return self._recordings.stop(serial_number)

    def _keep(self, told: Sequence[tuple[SimulatedRobot, list[Reported]]], captured: Sequence[Captured] = ()) -> None:
        self._blocked_spent |= set(self.plan.blocked_once) - self.hazards.blocked
        self.journal.keep(
            Keep(
                orders=[(work.order, work.report) for robot, _ in told if (work := robot.execution)],
                memories=[_memory(robot) for robot, _ in told],
                told=known_to_cloud([said for _, news in told for said in news]),
                facts=[("blocked_spent", json.dumps(sorted(self._blocked_spent)))],
                captured=captured,
            )
        )

    def save(self) -> None:
        """Keep where every robot is, so that it goes on from there."""
        with self._lock:
            self._saved_at = self.at
            memories = [_memory(robot) for robot in self.robots.values()]
            self.journal.keep(Keep(memories=memories, captured=self._desk.unsaved()))

    def submit(self, order: Order) -> Accepted | Refused:
        """Take the order, once a key: asked again the answer is the same and nothing starts."""
        with self._lock:
            known = self.journal.order(order.key)
            if known is None:
                return self._take(order)
            if known[1].status is OrderStatus.rejected or known[0].serial_number != order.serial_number:
                return Refused(reason=known[1].reason or f"the key belongs to {known[0].serial_number}")
            if known[1].status is OrderStatus.canceled and known[1].sequence == 1:
                return Refused(reason=known[1].reason)
            return Accepted(reference=_reference(order))

    def _take(self, order: Order) -> Accepted | Refused:
        robot = self.robots.get(order.serial_number)
        if robot is None:
            return Refused(reason=f"there is no unit {order.serial_number}")
        reason = self._stale(robot, order.fence) or _busy(robot) or execution.unfit_reason(order)
        if reason:
            self._end_unbegun(robot, order, OrderStatus.rejected, reason)
            return Refused(reason=reason)
        robot.memory.fence = order.fence
        self._keep([(robot, robot.begin(order, self.at))])
        self._recordings.watch(robot, self.at)
        return Accepted(reference=_reference(order))

    def _stale(self, robot: SimulatedRobot, fence: int) -> str | None:
        highest = robot.memory.fence
        return f"epoch {fence} is outdated, this unit has seen {highest}" if fence < highest else None

    def _end_unbegun(self, robot: SimulatedRobot, order: Order, status: OrderStatus, reason: str) -> None:
        report = execution.begun(order, self.at, status=status, reason=reason).report
        self.journal.keep(Keep(orders=[(order, report)], memories=[_memory(robot)], told=known_to_cloud([report])))

    def query(self, serial_number: str, key: str) -> OrderReport | None:
        """How the order stands, or None when this robot never had it."""
        with self._lock:
            known = self.journal.order(key)
            return known[1] if known and known[0].serial_number == serial_number else None

    def command(self, serial_number: str, key: str, wanted: OrderStatus, fence: int) -> Acknowledged | Unsupported:
        """Bring the order to `wanted` (canceled, paused or running) if it is live; one that is over is left as it is.

        A cancel of an order that never arrived is remembered: the order will not start when it arrives late.
        """
        with self._lock:
            robot = self.robots.get(serial_number)
            if robot is None:
                return Unsupported(reason=f"there is no unit {serial_number}")
            stale = self._stale(robot, fence)
            if stale:
                return Unsupported(reason=stale)
            robot.memory.fence = fence
            return self._command(robot, key, wanted)

    def _command(self, robot: SimulatedRobot, key: str, wanted: OrderStatus) -> Acknowledged | Unsupported:
        serial_number, known = robot.identity.serial_number, self.journal.order(key)
        if known is None and wanted is OrderStatus.canceled:
            self._end_unbegun(robot, _unseen(robot, key), wanted, "canceled before it arrived")
        elif known is None or known[0].serial_number != serial_number:
            return Unsupported(reason=f"unit {serial_number} has no job {key}")
        elif robot.execution and robot.execution.order.key == key:
            self._obey(robot, wanted)
        return Acknowledged()

    def _obey(self, robot: SimulatedRobot, wanted: OrderStatus) -> None:
        news = robot.obey(wanted, self.at)
        if news:
            self._recordings.watch(robot, self.at)
            self._keep([(robot, news)])

    def status(self) -> list[Reported]:
        """What every robot says of itself now, and of the order it works on."""
        with self._lock:
            robots = list(self.robots.values())
            said: list[Reported] = [robot.observation(self.at) for robot in robots]
            said += [robot.execution.report for robot in robots if robot.execution and robot.execution.is_live]
            return known_to_cloud(said)

    def give(
        self, serial_number: str, word: str, tasks: Sequence[OrderTask], *, mission_id: str = ""
    ) -> Accepted | Refused:
        """Take an order at the robot itself, once a `word`; the same again is counted and does not start.

        A robot knows no fence: the order stands under the highest one that its cloud has ever told it.
        """
        with self._lock:
            robot, key = self.robots.get(serial_number), key_of(word)
            if robot is not None and self.journal.order(key) is not None:
                self.journal.count_again(key)
                return Refused(reason=f"{word} was given before")
            fence = robot.memory.fence if robot else 0
            return self._take(
                Order(key=key, fence=fence, serial_number=serial_number, mission_id=mission_id, tasks=tuple(tasks))
            )

    def turn(self, serial_number: str, word: str, wanted: OrderStatus) -> Acknowledged | Unsupported:
        """Bring the order that was given under `word` to `wanted`, as `command` does with those of the cloud."""
        with self._lock:
            robot = self.robots.get(serial_number)
            if robot is None or self.journal.order(key_of(word)) is None:
                return Unsupported(reason=f"{serial_number} was given nothing under {word}")
            return self._command(robot, key_of(word), wanted)

    def look(self, serial_number: str) -> Look:
        """What can be seen at a robot now.

        Raises:
            NotFound: there is no such robot.
        """
        with self._lock:
            robot = self.robots.get(serial_number)
            if robot is None:
                raise NotFound(f"There is no unit {serial_number}.", serial_number=serial_number)
            work = robot.execution
            report = work.report if work and is_local(work.order.key) else None
            return Look(robot.sample(self.at), robot.observation(self.at), report)

    def remembered(self, serial_number: str) -> list[tuple[Order, OrderReport]]:
        """The newest orders that were given at the robot itself, oldest first; none when it does not remember."""
        return self.journal.local_orders(serial_number, limit=REMEMBERED) if self.plan.remembers_local_orders else []

    def given(self, serial_number: str, word: str) -> OrderReport | None:
        """How an order stands that was given at the robot itself; None: it never was."""
        return self.query(serial_number, key_of(word))


def _memory(robot: SimulatedRobot) -> tuple[str, str]:
    return robot.identity.serial_number, robot.memory.model_dump_json()


def _busy(robot: SimulatedRobot) -> str | None:
    if robot.memory.repair_s > 0:
        return "this unit is out of service"
    work = robot.execution
    return f"this unit works on {work.order.key}" if work and work.is_live else None


def _reference(order: Order) -> str:
    return f"{order.serial_number}:{order.key}"


def _unseen(robot: SimulatedRobot, key: str) -> Order:
    """A stand-in for an order that was canceled before it arrived."""
    nothing = OrderTask(position=0, kind=TaskKind.wait)
    return Order(
        key=key, fence=robot.memory.fence, serial_number=robot.identity.serial_number, mission_id="", tasks=(nothing,)
    )
