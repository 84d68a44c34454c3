"""Which robot is being recorded, and the samples so far: of one order, or of a run of orders given at the robot itself."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleet.adapter import OrderStatus
from fleet.adapters.simulated.execution import Execution
from fleet.adapters.simulated.local_orders import is_local
from fleet.adapters.simulated.recorder import NIGHT_EVERY, Recording, thinned
from fleet.adapters.simulated.robot import SimulatedRobot
from fleet.adapters.simulated.samples import Sample

QUIET = timedelta(seconds=3)  # so long a robot waits for the next order of a run before it closes the recording


@dataclass
class Run:
    """A recording that has begun; `key` is of the order that asked for it."""

    key: str
    name: str
    robot: str
    mission_id: str
    worked_at: datetime
    samples: list[Sample] = field(default_factory=list)


class Recordings:
    """The recordings of one site. What is not finished when the site is closed is lost, as on a robot without power."""

    def __init__(self, seed: int) -> None:
        """`seed` makes the noise of the sensors."""
        self._seed = seed
        self._runs: dict[str, Run] = {}
        self._newest: dict[str, str] = {}
        self._finished: list[Recording] = []

    def watch(self, robot: SimulatedRobot, at: datetime) -> None:
        """Look at the robot once a step: begin, take a sample, or finish."""
        serial_number, work = robot.identity.serial_number, robot.execution
        if work and work.is_recorded and work.is_live and self._newest.get(serial_number) != work.order.key:
            self._begin(robot, work, at)
        run = self._runs.get(serial_number)
        if run is None:
            return
        if _is_over(run, work, at):
            self.stop(serial_number)
        elif work and work.report.status is OrderStatus.running:
            run.worked_at, run.samples = at, thinned(run.samples)
            run.samples.append(robot.sample(at))

    def _begin(self, robot: SimulatedRobot, work: Execution, at: datetime) -> None:
        serial_number, name = robot.identity.serial_number, f"{robot.identity.name}-night-{robot.memory.orders}"
        self.stop(serial_number)
        self._newest[serial_number] = work.order.key
        run = Run(work.order.key, name, robot.identity.name, work.order.mission_id, at)
        if is_local(run.key):  # so that a run of which nothing comes is a recording too
            run.samples.append(robot.sample(at))
        self._runs[serial_number] = run

    def stop(self, serial_number: str) -> str:
        """Finish what is recorded at this robot; gives the name of the bag, "" when nothing was recorded."""
        run = self._runs.pop(serial_number, None)
        if run is None or not run.samples:
            return ""
        noise = f"{self._seed}/{run.name}"
        done = Recording(run.name, run.robot, run.samples, NIGHT_EVERY, noise, run.mission_id or None)
        self._finished.append(done)
        return run.name

    def finished(self) -> list[Recording]:
        """The finished recordings since this was last asked."""
        finished, self._finished = self._finished, []
        return finished


def _is_over(run: Run, work: Execution | None, at: datetime) -> bool:
    """A cloud's order is recorded to its end; a run goes on until nothing has followed for a while."""
    live_key = work.order.key if work is not None and work.is_live else None
    if not is_local(run.key):
        return live_key != run.key
    return at - run.worked_at > QUIET if live_key is None else not is_local(live_key)
