"""One night of the fault world: dispatchers, people, robots and the clock go on in an order that chance decides.

One seed is one night. While processes are left to crash, everything goes wrong; then it is calm, and what was asked for
must come to its end.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from sqlmodel import Session, col, select

from fleet import changes, states
from fleet.adapter import OrderStatus
from fleet.clock import SteppableClock
from fleet.database import ids_from
from missions.models import MISSION_TERMINAL, Attempt, Desired, Mission, OutboxMessage, OutboxStatus
from missions.scripted import Faults, ScriptedRobots
from missions.simulation.dispatcher import Dispatcher
from missions.simulation.people import People
from missions.simulation.place import Scene, ground, populate
from missions.simulation.processes import Crashed, Deaths, Ground, Process, crash_plan, ids
from missions.simulation.tally import Tally, judge

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
TURN_S, CALM_TURN_S = 2.0, 5.0
OBEYED_WITHIN_S = 150.0  # a pause reaches a robot within this long once nothing crashes, also one that was silent
CALM_S = 1500.0
CLOCK_JUMP_MAX_S = 3600.0
ROBOTS = 4
LIVES_A_TURN = 4  # of one dispatcher


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in a night beside the network and the robots; chances are per turn."""

    faults: Faults = field(default_factory=Faults)
    crashes: Counter[str] = field(default_factory=Counter)  # how many at which point
    dispatchers: int = 2
    missions: int = 6  # asked for at the beginning; more follow while it lasts
    wish: float = 0.0
    command: float = 0.0
    clock_jump: float = 0.0
    has_schedule: bool = False
    turns: int = 70  # at most; fewer when all planned crashes have come
    least_turns: int = 20


def trouble(seed: int, crashes: int) -> Trouble:
    """Everything at once, each seed with its own kind of robots and network."""
    chance = Random(f"trouble/{seed}")
    faults = Faults(
        task_s=chance.choice([2.0, 4.0]),
        request_lost=chance.choice([0.0, 0.1, 0.2]),
        request_late=chance.choice([0.0, 0.1, 0.2]),
        request_repeated=chance.choice([0.0, 0.1, 0.3]),
        late_s=chance.choice([4.0, 10.0, 24.0]),
        answer_lost=chance.choice([0.0, 0.1, 0.2]),
        answer_nonsense=chance.choice([0.0, 0.1]),
        report_lost=chance.choice([0.0, 0.2, 0.5]),
        report_late=chance.choice([0.0, 0.3]),
        report_repeated=chance.choice([0.0, 0.2]),
        order_fails=chance.choice([0.0, 0.05]),
        order_refused=chance.choice([0.0, 0.1]),
        order_hangs=chance.choice([0.0, 0.3]),
        robot_silent=chance.choice([0.0, 0.01]),
        silent_s=chance.choice([20.0, 60.0]),
        robot_forgets=chance.choice([0.0, 0.0, 0.003]),
        robot_starts_own=chance.choice([0.0, 0.02]),
        remembers_cancels=chance.random() < 0.6,
        remembers_orders=chance.random() < 0.6,
        obeys_after_s=chance.choice([0.0, 0.0, 6.0]),
    )
    planned = crash_plan(chance, crashes)
    return Trouble(
        faults,
        planned,
        dispatchers=chance.choice([2, 2, 3]),
        missions=8,
        wish=0.6,
        command=0.5,
        clock_jump=0.01,
        has_schedule=True,
    )


async def live_through(seed: int, trouble: Trouble, folder: Path) -> Tally:
    """The tally of the night of this seed, in a database of its own in `folder`."""
    with ids_from(ids(seed)), ground(folder, SteppableClock(START)) as place:
        with place.transaction() as session:
            scene = populate(session, robots=ROBOTS, now=START)
        return await Night(seed, trouble, place, scene).run()


class Night:
    """One night on a ground that exists, with the site and robots of `scene`."""

    def __init__(self, seed: int, trouble: Trouble, ground: Ground, scene: Scene) -> None:
        """Nothing happens yet."""
        self._trouble, self._ground, self._scene = trouble, ground, scene
        self._chance = Random(seed)
        self._deaths = Deaths(self._chance, Counter(trouble.crashes))
        self._truth = SteppableClock(ground.clock.now())  # of the robots, and of those who judge
        serials = [row.serial_number for row in scene.rows]
        self.robots = ScriptedRobots(serials, clock=self._truth, chance=self._chance, faults=trouble.faults)
        self._people = People(ground, self._deaths, scene, self.robots)
        self._intake = Process(ground, self._deaths)
        self._dispatchers = [self._born() for _ in range(trouble.dispatchers)]
        self._violations = 0

    async def run(self) -> Tally:
        """Trouble until enough processes crashed, then calm until all is over."""
        for _ in range(self._trouble.missions):
            self._people.ask()
        if self._trouble.has_schedule:
            self._people.plan_ahead()
        turns = 0
        while turns < (self._trouble.turns if self._deaths.left else self._trouble.least_turns):
            self._befall()
            self._turn(TURN_S)
            turns += 1
        self._calm_down()
        disobeyed = self._see_pauses_obeyed()
        self._people.let_go()
        until = self._truth.monotonic() + CALM_S
        while not self._is_over() and self._truth.monotonic() < until:
            self._turn(CALM_TURN_S)
        with self._ground.transaction() as session:
            changes.publish(session, limit=1_000_000)
        with self._ground.reading() as session:
            violations = self._violations + sum(len(each.violations) for each in self._dispatchers)
            tally = judge(session, self.robots, disobeyed=disobeyed, violations=violations)
        return tally + Tally(crashes=self._deaths.crashes)

    def _calm_down(self) -> None:
        """One dispatcher is left, the network is good, and robots do what they are told; what hangs still hangs."""
        self._deaths.plan.clear()
        for gone in self._dispatchers[1:]:
            gone.end()
            self._violations += len(gone.violations)
        del self._dispatchers[1:]
        calm = Faults(task_s=self.robots.faults.task_s, remembers_cancels=self.robots.faults.remembers_cancels)
        self.robots.faults = calm

    def _befall(self) -> None:
        if self._chance.random() < self._trouble.clock_jump:
            self._ground.clock.step(self._chance.choice([-1, 1]) * self._chance.uniform(1, CLOCK_JUMP_MAX_S))
        self._people.act(wish=self._trouble.wish, command=self._trouble.command)

    def _turn(self, seconds: float) -> None:
        self._truth.step(seconds)
        self._ground.clock.step(seconds)
        self.robots.step(seconds)
        self._observe()
        self._people.act()
        lives = LIVES_A_TURN * len(self._dispatchers)
        for dispatcher in self._dispatchers:
            dispatcher.begin_turn()
        while lives and self._go_on():
            lives -= 1

    def _go_on(self) -> bool:
        """Let the dispatchers go on, strand by strand, until all rest (False) or one crashes (True)."""
        now_s = self._truth.monotonic()
        while True:
            awake = [(number, strand) for number, each in enumerate(self._dispatchers) for strand in each.awake(now_s)]
            if not awake:
                return False
            number, strand = self._chance.choice(awake)
            try:
                strand.step(now_s)
            except Crashed:
                self._replace(number)
                return True

    def _replace(self, number: int) -> None:
        gone = self._dispatchers[number]
        gone.end()
        self._violations += len(gone.violations)
        self._dispatchers[number] = self._born()
        self._dispatchers[number].begin_turn()

    def _born(self) -> Dispatcher:
        return Dispatcher(self._ground, self._deaths, self.robots, self._scene.rows)

    def _observe(self) -> None:
        try:
            with self._intake.transaction("observe") as session:
                for row in self._scene.rows:
                    if row.serial_number in self.robots.heard:
                        seen = self.robots.observation(row.serial_number)
                        states.observe(session, row, seen, received_at=self._ground.clock.now())
        except Crashed:
            return  # what was told is told again

    def _see_pauses_obeyed(self) -> int:
        """How many robots work on a mission that is to pause, long after nothing crashes any more."""
        until = self._truth.monotonic() + OBEYED_WITHIN_S
        while self._truth.monotonic() < until and (at_work := self._at_work_against(Desired.pause)):
            self._turn(CALM_TURN_S)
        return len(self._at_work_against(Desired.pause)) if at_work else 0

    def _at_work_against(self, desired: Desired) -> set[str]:
        running = {
            run.order.key
            for robot in self.robots.robots.values()
            for run in robot.live
            if run.status is OrderStatus.running
        }
        query = select(Attempt.key).join(Mission, col(Mission.id) == Attempt.mission_id)
        with self._ground.reading() as session:
            return running & set(session.exec(query.where(Mission.desired == desired)).all())

    def _is_over(self) -> bool:
        if any(run for robot in self.robots.robots.values() for run in robot.live):
            return False
        with self._ground.reading() as session:
            return not _is_anything_left(session)


def _is_anything_left(session: Session) -> bool:
    live = select(Mission.id).where(col(Mission.status).not_in(MISSION_TERMINAL)).limit(1)
    unsent = select(OutboxMessage.id).where(OutboxMessage.status == OutboxStatus.pending).limit(1)
    return session.exec(live).first() is not None or session.exec(unsent).first() is not None
