"""Processes that crash anywhere, a network that loses, delays and repeats, a clock that jumps: nothing is doubled, lost or stuck."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.settings import child_environment
from missions.scripted import Faults
from missions.simulation.night import Trouble, live_through, trouble
from missions.simulation.nights import survive
from missions.simulation.processes import POINTS
from missions.simulation.tally import Tally

Live = Callable[[int, Trouble], Tally]
MUST_HAPPEN = (
    *("attempt failed", "attempt rejected", "attempt canceled", "attempt lost", "further attempt", "task skipped"),
    *("recalled: preempted", "recalled: skip", "recalled: timeout", "order abandoned", "order of the robot's own"),
    *("hold of a robot", "hold of a site", "hold of a fleet"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("nights")


@pytest.fixture
def live(folder) -> Live:
    """Lives through one night, in a database of its own."""
    return lambda seed, wanted: asyncio.run(live_through(seed, wanted, folder))


def test_without_faults_every_mission_succeeds_once(live: Live):
    tally = live(3, Trouble(missions=8))
    assert tally.is_sound, tally.wrongs
    assert (tally.statuses, tally.crashes) == ({"SUCCEEDED": tally.statuses.total()}, {})


def test_crashes_alone_keep_no_mission_from_its_end(live: Live):
    tally = live(2, Trouble(missions=8, crashes=Counter(dict.fromkeys(POINTS, 2))))
    assert tally.crashes.total() > 40
    assert tally.is_sound, tally.wrongs
    assert set(tally.statuses) == {"SUCCEEDED"}


def test_a_thousand_crashes_at_every_point_with_every_fault_double_lose_and_strand_nothing(folder):
    tally = asyncio.run(survive(1, 1000, folder))
    assert tally.is_sound, tally.wrongs
    assert tally.crashes.total() >= 1000
    assert set(POINTS) - set(tally.crashes) == set()
    assert {name for name in MUST_HAPPEN if not tally.happened[name]} == set()


def test_one_seed_is_one_night_in_any_process(live: Live, tmp_path):
    here = live(7, trouble(7, 40))
    script = (
        "import asyncio, json, sys; from pathlib import Path; from missions.simulation.night import live_through, trouble;"
        "print(json.dumps(asyncio.run(live_through(7, trouble(7, 40), Path(sys.argv[1]))).told))"
    )
    command, environment = [sys.executable, "-c", script, str(tmp_path)], child_environment({"PYTHONHASHSEED": "4321"})
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout.splitlines()[-1]) == here.told


def test_the_command_prints_the_tally_of_a_seed():
    command = [sys.executable, "-m", "missions.simulation", "--seed", "5", "--crashes", "10", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert sum(told["crashes"].values()) >= 10
    assert (told["doubled"], told["overlapping"], told["unfinished"]) == (0, 0, 0)


def test_robots_that_lose_their_memory_are_told_again_and_nothing_else_is_wrong(live: Live):
    """What a robot did and forgot is done again: nobody could know, and it is counted apart."""
    tally = live(11, Trouble(missions=8, faults=Faults(robot_forgets=0.03, report_lost=0.6)))
    assert tally.is_sound, tally.wrongs


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100, 104))
def test_many_nights_of_every_fault_are_survived(folder, seed: int):
    tally = asyncio.run(survive(seed, 1000, folder))
    assert tally.is_sound, tally.wrongs
