"""Recordings by policy between the robots and the journal: what is kept, taken up after a restart, and due to be written."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from fleet.adapter import Reported
from fleet.adapters.simulated.captures import Capture, Captures, Cause, Progress
from fleet.adapters.simulated.journal import Captured, Journal, Keep
from fleet.adapters.simulated.policy import Policy
from fleet.adapters.simulated.recorder import Recording
from fleet.adapters.simulated.robot import SimulatedRobot
from fleet.adapters.simulated.samples import Sample

SAMPLES = TypeAdapter(list[Sample])


class PolicyDesk:
    """What a site remembers of policies, and of the recordings they began. Its caller holds the world's lock."""

    def __init__(self, journal: Journal, seed: int, tick_s: float) -> None:
        """Recordings that had begun when the site was closed go on."""
        self._journal, self._seed = journal, seed
        going_on = [Capture.model_validate_json(text) for text in journal.captures("open")]
        self._captures = Captures(tick_s, going_on, journal.knows_capture)
        self._is_due = True  # perhaps, from before the site was closed

    def take_up(self, robots: Mapping[str, SimulatedRobot]) -> None:
        """Let the robots follow what they were told last; the platform may be away."""
        for serial_number in robots:
            known = self._journal.fact(_fact(serial_number))
            if known:
                self._captures.follow(serial_number, Policy.model_validate_json(known))

    def follow(self, robot: SimulatedRobot, policy: Policy, at: datetime) -> None:
        """From now on the robot's policy is this one; what is asked for in it begins, once each."""
        serial_number = robot.identity.serial_number
        self._captures.follow(serial_number, policy)
        causes = [(asked, Cause(id=asked.id, kind=asked.kind, at=at, policy=policy.label)) for asked in policy.requests]
        begun = [self._captures.ask(robot, cause, asked) for asked, cause in causes]
        standing = policy.model_copy(update={"requests": ()}).model_dump_json()
        captured = [_captured(one) for one in begun if one]
        self._journal.keep(Keep(facts=[(_fact(serial_number), standing)], captured=captured))

    def tick(self, robot: SimulatedRobot, at: datetime, said: Sequence[Reported]) -> list[Captured]:
        """What must be in the journal together with what the robot said."""
        progress = self._captures.tick(robot, at, said)
        self._is_due = self._is_due or any(one.is_over for one in progress)
        return [_captured(one) for one in progress]

    def unsaved(self) -> list[Captured]:
        """What was sampled since the journal was told last."""
        return [_captured(one) for one in self._captures.unsaved()]

    def due(self) -> list[Recording]:
        """The finished recordings that are to be written as bags, those from before a restart too; told once."""
        if not self._is_due:
            return []
        self._is_due = False
        return [self._recording(Capture.model_validate_json(text)) for text in self._journal.captures("due")]

    def _recording(self, capture: Capture) -> Recording:
        parts = self._journal.captured_samples(capture.serial_number, capture.cause.id)
        samples = [sample for part in parts for sample in SAMPLES.validate_json(part)]
        return self._captures.recording(capture, samples, self._seed)


def _fact(serial_number: str) -> str:
    return f"recording_policy/{serial_number}"


def _captured(progress: Progress) -> Captured:
    capture = progress.capture
    return Captured(
        serial_number=capture.serial_number,
        id=capture.cause.id,
        capture=capture.model_dump_json(),
        samples=SAMPLES.dump_json(progress.samples).decode(),
        is_over=progress.is_over,
    )
