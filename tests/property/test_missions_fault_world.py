"""Dispatchers that crash anywhere and a network that loses, delays and repeats: nothing is doubled, lost or stuck."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from fleet.runtime import Runtime
from missions import outbox
from missions.create import create_round
from missions.lifecycle import Cause
from missions.live import attempt_now, lock_mission
from missions.models import AttemptStatus, MissionCreate, MissionStatus, TaskCreate
from missions.outcome import advance
from missions.scripted import Faults, ScriptedRobots
from missions.simulation import Night, Tally

Live = Callable[..., Tally]
BAD_NETWORK = Faults(
    request_lost=0.15,
    request_late=0.1,
    answer_lost=0.15,
    report_lost=0.2,
    report_repeated=0.2,
    order_fails=0.05,
    order_refused=0.05,
)


@pytest.fixture
def live(runtime: Runtime, world, clock) -> Live:
    """Lives through a night of eight missions on the world's two robots."""

    def run(seed: int, faults: Faults, *, crash: float = 0.0, command: float = 0.0, missions: int = 8) -> Tally:
        wanted = [
            MissionCreate(
                name=f"m{number}",
                key=f"m{number}",
                priority=number % 3,
                attempts_max=3,
                tasks=[TaskCreate(station=station) for station in ("press-1", "gate")],
            )
            for number in range(missions)
        ]
        with runtime.transaction() as session:
            create_round(session, site=world.site, name="night", key="night", missions=wanted, who="test")
        rows = list(world.robots.values())
        chance = Random(seed)
        robots = ScriptedRobots([row.serial_number for row in rows], clock=clock, chance=chance, faults=faults)
        night = Night(runtime.transaction, runtime.reading, clock, robots, rows, chance, crash=crash, command=command)
        return asyncio.run(night.run(faulty_s=120, calm_s=3000))

    return run


def test_without_faults_every_mission_succeeds_once(live: Live):
    tally = live(1, Faults())
    assert tally.is_sound, tally
    assert tally.statuses == {MissionStatus.succeeded: 8}


@pytest.mark.parametrize("seed", range(2))
def test_crashes_between_any_two_steps_double_lose_and_strand_nothing(live: Live, seed: int):
    tally = live(seed, Faults(), crash=0.08)
    assert tally.crashes > 0
    assert tally.is_sound, tally
    assert tally.statuses == {MissionStatus.succeeded: 8}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("remembers_cancels", [True, False])
def test_a_bad_network_crashes_and_commands_together_are_survived(live: Live, seed: int, remembers_cancels: bool):
    faults = BAD_NETWORK.model_copy(update={"remembers_cancels": remembers_cancels})
    tally = live(seed, faults, crash=0.05, command=0.15)
    assert tally.is_sound, tally


def test_the_fault_world_sees_a_dispatcher_that_takes_silence_for_failure(live: Live, monkeypatch):
    """The classic mistake, planted: no answer is called failed, and the mission goes to another robot."""

    def give_up(session, message, why: str) -> None:
        attempt = attempt_now(session, message.attempt_id)
        mission = lock_mission(session, attempt.mission_id)
        advance(session, mission, attempt, AttemptStatus.failed, Cause("test", why))

    monkeypatch.setattr(outbox, "postpone", give_up)
    tally = live(3, BAD_NETWORK)
    assert tally.doubled + tally.overlapping + tally.lost > 0


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_nights_of_every_fault_are_survived(live: Live, seed: int):
    faults = BAD_NETWORK.model_copy(update={"remembers_cancels": seed % 2 == 0})
    tally = live(seed, faults, crash=0.08, command=0.2, missions=16)
    assert tally.is_sound, tally
