"""What stops a launch before anything is started: another launcher, a port in use; and what a stop leaves."""

import fcntl
import os
import signal
import socket

import pytest

from deployments.local import Wanted, _signals, launched
from deployments.ports import HOST
from deployments.supervise import Supervisor
from fleet.errors import Conflict


def test_a_second_launcher_in_the_same_folder_is_refused_with_the_first_ones_process(tmp_path):
    with (tmp_path / "launcher.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        refusal = pytest.raises(Conflict, match=r"Another launcher \(process 4711\).*another folder with --var")
        with refusal, launched(Wanted(tmp_path), say=print):
            pytest.fail("it was launched")


def test_the_lock_of_a_launcher_that_died_does_not_stop_the_next(tmp_path):
    (tmp_path / "launcher.lock").write_text("4711")
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        # It gets past the lock and stops at the port.
        with (
            pytest.raises(Conflict, match="is in use"),
            launched(Wanted(tmp_path, listener.getsockname()[1]), say=print),
        ):
            pytest.fail("it was launched")
    assert not (tmp_path / "run" / "children.json").exists()


def test_the_first_signal_stops_and_a_second_one_only_hurries(tmp_path):
    supervisor = Supervisor(tmp_path, say=print)
    with _signals(supervisor):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not supervisor.is_hurried
        os.kill(os.getpid(), signal.SIGINT)
        assert supervisor.is_hurried


def test_signals_are_given_back_after_a_launch(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with _signals(Supervisor(tmp_path, say=print)):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_night_never_empties_a_folder_that_no_night_has_written(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(Conflict, match="holds files that no night has written"), launched(_fresh(tmp_path), say=_quiet):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_night_in_the_same_folder_is_told_and_touches_nothing_of_the_first(tmp_path):
    (tmp_path / "yardmaster.db").write_text("of the night that runs")
    with (tmp_path / "launcher.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="process 4711"), launched(_fresh(tmp_path), say=_quiet):
            pass
    assert (tmp_path / "yardmaster.db").read_text() == "of the night that runs"


def _fresh(var) -> Wanted:
    return Wanted(var, is_fresh=True)


def _quiet(_text: str) -> None:
    """Says nothing."""
