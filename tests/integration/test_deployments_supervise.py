"""The supervisor against real child processes: healthy, dying, deaf to TERM, orphaned, and strangers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.supervise import LEFTOVERS, Child, Leftover, Supervisor, end_leftovers
from fleet.errors import Unavailable

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, say=said.append)
    yield made
    made.is_hurried = True
    made.stop()


@pytest.fixture
def restarting(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, say=said.append)
    made.restarts = True
    yield made
    made.is_hurried = True
    made.stop()


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Child]:
    """A child of this name that runs Python source and is healthy once it wrote something."""

    def build(name: str, source: str, within_s: float = 20.0) -> Child:
        log = tmp_path / "logs" / f"{name}.log"
        return Child(name, (sys.executable, "-c", source), {}, lambda: log.stat().st_size > 0, within_s)

    return build


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition, ten seconds at most."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.02)

    return wait


def test_a_child_is_started_found_healthy_and_ended(supervisor, child):
    supervisor.start(child("sleeper", SLEEPER))
    supervisor.wait_ready("sleeper")
    pid = supervisor.process_ids["sleeper"]
    assert psutil.pid_exists(pid)
    supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_a_child_that_dies_at_its_start_fails_fast_with_the_end_of_its_log(supervisor, child):
    supervisor.start(child("broken", "raise SystemExit('the port is taken by a ghost')", within_s=600))
    with pytest.raises(Unavailable, match=r"broken ended \(exit code 1\)(.|\n)*taken by a ghost"):
        while True:
            supervisor.wait_ready("broken")
            supervisor.check()


def test_the_death_of_another_child_ends_the_wait_for_a_slow_one(supervisor, child):
    supervisor.start(child("broken", "raise SystemExit('no luck')"))
    slow = child("slow", SLEEPER)
    supervisor.start(Child(slow.name, slow.command, {}, lambda: False, 600))
    with pytest.raises(Unavailable, match="broken ended"):
        supervisor.wait_ready("slow")


def test_a_child_that_never_becomes_healthy_is_told_after_its_time(supervisor, child):
    slow = child("slow", SLEEPER)
    supervisor.start(Child(slow.name, slow.command, {}, lambda: False, 0.3))
    with pytest.raises(Unavailable, match="slow was not healthy after 0 s"):
        supervisor.wait_ready("slow")


def test_a_short_child_that_fails_is_told_with_its_words(supervisor, child):
    with pytest.raises(Unavailable, match=r"migration failed \(exit code 3\)(.|\n)*cannot go on"):
        supervisor.run(child("migration", "import sys; print('cannot go on'); sys.exit(3)"))


def test_a_short_child_that_ends_well_is_no_longer_watched(supervisor, child):
    supervisor.run(child("migration", "print('done')"))
    supervisor.check()
    assert supervisor.process_ids == {}


def test_a_full_disk_is_named_as_the_cause(supervisor, child):
    words = "OSError: [Errno 28] No space left on device"
    with pytest.raises(Unavailable, match="the disk is full: free some space"):
        supervisor.run(child("writer", f"raise SystemExit({words!r})"))


def test_a_child_deaf_to_term_is_killed_after_the_grace(supervisor, child, monkeypatch):
    monkeypatch.setattr("deployments.supervise.GRACE_S", 0.5)
    supervisor.start(child("deaf", DEAF))
    supervisor.wait_ready("deaf")
    pid = supervisor.process_ids["deaf"]
    supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_what_a_child_started_in_a_session_of_its_own_is_ended_too(supervisor, child, eventually):
    supervisor.start(child("parent", PARENT))
    supervisor.wait_ready("parent")
    grandchild = int(supervisor.log_of("parent").read_text())
    supervisor.stop()
    eventually(lambda: not psutil.pid_exists(grandchild))


def test_a_killed_child_is_started_again_and_that_is_said(restarting, child, said, eventually):
    restarting.start(child("sleeper", SLEEPER))
    restarting.wait_ready("sleeper")
    first = restarting.process_ids["sleeper"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: restarting.check() or restarting.process_ids["sleeper"] != first)
    assert any("sleeper ended (killed by SIGKILL); it is started again" in line for line in said)


def test_a_child_that_dies_again_and_again_is_given_up(restarting, child, said):
    restarting.start(child("looping", "raise SystemExit('no such table')"))
    deadline = time.monotonic() + 20
    with pytest.raises(Unavailable, match=r"looping died 3 times within 60 s(.|\n)*no such table"):
        while time.monotonic() < deadline:
            restarting.check()
    assert len(said) == 2


def test_a_child_that_others_kill_again_and_again_is_brought_back_each_time(restarting, child, eventually):
    restarting.start(child("sleeper", SLEEPER))
    for _ in range(5):
        killed = restarting.process_ids["sleeper"]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda killed=killed: restarting.check() or restarting.process_ids["sleeper"] != killed)


def test_the_log_of_the_last_run_is_kept_beside_the_new_one(supervisor, child):
    supervisor.run(child("job", "print('first')"))
    supervisor.run(child("job", "print('second')"))
    assert supervisor.log_of("job").read_text() == "second\n"
    assert supervisor.log_of("job").with_suffix(".log.1").read_text() == "first\n"


LAUNCHER = f"""
import sys, time
from pathlib import Path
from deployments.supervise import Child, Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor(folder, say=print)
supervisor.start(Child("deaf", (sys.executable, "-c", {DEAF!r})))
supervisor.start(Child("meek", (sys.executable, "-c", {SLEEPER!r})))
while not all(supervisor.log_of(name).stat().st_size for name in ("deaf", "meek")):
    time.sleep(0.02)
print(*supervisor.process_ids.values(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def orphans(tmp_path: Path) -> tuple[int, int]:
    """A child deaf to TERM and an obedient one, whose launcher was killed with SIGKILL."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with launcher:
        deaf, meek = map(int, launcher.stdout.readline().split())
        launcher.kill()
    return deaf, meek


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_an_obedient_child_ends_with_a_launcher_that_is_killed(orphans, eventually):
    eventually(lambda: not psutil.pid_exists(orphans[1]))


def test_the_next_start_finds_and_ends_what_a_killed_launcher_left(tmp_path, orphans, monkeypatch, eventually):
    monkeypatch.setattr("deployments.supervise.GRACE_S", 0.3)
    assert psutil.pid_exists(orphans[0])
    assert "deaf" in end_leftovers(tmp_path)
    eventually(lambda: not psutil.pid_exists(orphans[0]))
    assert end_leftovers(tmp_path) == []


def test_a_stranger_with_a_process_id_given_out_again_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as stranger:
        started_at = psutil.Process(stranger.pid).create_time() - 100
        (tmp_path / "run").mkdir()
        rows = [Leftover(name="api", pid=stranger.pid, started_at=started_at, launch="of long ago")]
        (tmp_path / "run" / "children.json").write_bytes(LEFTOVERS.dump_json(rows))
        assert end_leftovers(tmp_path) == []
        assert stranger.poll() is None
        stranger.kill()


def test_a_damaged_list_of_children_does_not_stop_the_next_start(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "children.json").write_text("{half a")
    assert end_leftovers(tmp_path) == []
