"""Child processes under one supervisor: started, watched, restarted, ended, and found again after a crash of the launcher.

Every child leads a session of its own and carries the launch's id in its environment, so that its own children are found
with it and nobody else's process is ever taken for one of ours, also when a process id was given out again.
"""

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import BaseModel, TypeAdapter

from fleet.errors import Unavailable
from fleet.settings import child_environment

LAUNCH_VARIABLE = "YARDMASTER_LAUNCH"
GRACE_S = 8.0
DEATHS_MAX = 3
KILLED = -signal.SIGKILL
DEATHS_WINDOW_S = 60.0
TAIL_LINES = 25
TAIL_BYTES = 16_000
FULL_DISK = ("No space left on device", "database or disk is full", "[Errno 28]")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Child:
    """What to run: `is_ready` is asked until it says yes, `ready_within_s` at most."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    ready_within_s: float = 300.0  # what is not right is told at once; this is for a machine that is busy
    stops_last: bool = False


class Leftover(BaseModel):
    """One started process as it is written down: id and start time name it for good."""

    name: str
    pid: int
    started_at: float
    launch: str


LEFTOVERS = TypeAdapter(list[Leftover])


@dataclass
class Running:
    """A child that was started, with the times (monotonic seconds) at which it died before."""

    child: Child
    process: subprocess.Popen[bytes]
    started_at: float
    deaths: list[float] = field(default_factory=list)


class Supervisor:
    """The children of one launch; while `restarts` is true a dead one is brought back until it dies too often.

    One that somebody else killed (a person, or a system short of memory) is always brought back: robots are at work, and
    to end everything because of it would stop more than it did.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        """Logs go to `folder`/logs, the list of what runs to `folder`/run; `say` tells a person."""
        self._logs = folder / "logs"
        self._ledger = folder / "run" / "children.json"
        self._say = say
        self._running: dict[str, Running] = {}
        self._launch = secrets.token_hex(8)
        self.restarts = False
        self.is_hurried = False
        for made in (self._logs, self._ledger.parent):
            made.mkdir(parents=True, exist_ok=True)

    @property
    def process_ids(self) -> dict[str, int]:
        """The process id of every child."""
        return {name: running.process.pid for name, running in self._running.items()}

    def log_of(self, name: str) -> Path:
        """Where this child's output goes."""
        return self._logs / f"{name}.log"

    def start(self, child: Child) -> None:
        """Start a child; the log of its last run is kept beside the new one as `.1`."""
        log = self.log_of(child.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        self._running[child.name] = self._spawn(child)
        self._write_ledger()

    def run(self, child: Child) -> None:
        """Run a short child to its end.

        Raises:
            Unavailable: it failed or took longer than its `ready_within_s`; carries the end of its log.
        """
        self.start(child)
        running = self._running[child.name]
        deadline = time.monotonic() + child.ready_within_s
        while running.process.poll() is None and time.monotonic() < deadline:
            self.check(but=child.name)
            time.sleep(0.05)
        code = running.process.poll()
        if code is None:
            raise self._failure(child.name, f"was not done after {child.ready_within_s:.0f} s")
        if code != 0:
            raise self._failure(child.name, f"failed ({_ending(code)})")
        del self._running[child.name]
        self._write_ledger()

    def wait_ready(self, *names: str) -> None:
        """Wait until these children are healthy.

        Raises:
            Unavailable: one of all the children ended, or was not healthy in time; carries the end of its log.
        """
        for name in names:
            child = self._running[name].child
            deadline = time.monotonic() + child.ready_within_s
            while not child.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    raise self._failure(name, f"was not healthy after {child.ready_within_s:.0f} s")
                time.sleep(0.2)

    def check(self, *, but: str = "") -> None:
        """Look once at every child; a dead one is restarted where that is wanted.

        Raises:
            Unavailable: one ended that is not restarted, or died too often; carries the end of its log.
        """
        for name, running in list(self._running.items()):
            code = running.process.poll()
            if code is None or name == but:
                continue
            if not self.restarts:
                raise self._failure(name, f"ended ({_ending(code)})")
            deaths = running.deaths if code == KILLED else recent([*running.deaths, time.monotonic()])
            if len(deaths) >= DEATHS_MAX:
                raise self._failure(name, f"died {len(deaths)} times within {DEATHS_WINDOW_S:.0f} s ({_ending(code)})")
            self._say(f"{name} ended ({_ending(code)}); it is started again. Its log: {self.log_of(name)}")
            self._running[name] = self._spawn(running.child, deaths)
            self._write_ledger()

    def stop(self) -> None:
        """End every child and what it started: TERM, then KILL after a grace; those that stop last after the others."""
        for last in (False, True):
            wave = [running for running in self._running.values() if running.child.stops_last is last]
            _end([_process(running.process.pid, running.started_at) for running in wave], self._grace)
            for running in wave:
                running.process.wait()
        _end(_of_launch({self._launch}), self._grace)
        self._running.clear()
        self._ledger.unlink(missing_ok=True)

    def _grace(self) -> float:
        return 0.0 if self.is_hurried else GRACE_S

    def _spawn(self, child: Child, deaths: list[float] | None = None) -> Running:
        extra = {**child.environment, LAUNCH_VARIABLE: self._launch}
        with self.log_of(child.name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  the commands are our own
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(extra),
                cwd=Path(__file__).parents[1],
                start_new_session=True,
                preexec_fn=_end_with_launcher(os.getpid()),
            )
        return Running(child, process, _started_at(process.pid), deaths or [])

    def _write_ledger(self) -> None:
        rows = [
            Leftover(name=name, pid=row.process.pid, started_at=row.started_at, launch=self._launch)
            for name, row in self._running.items()
        ]
        mine = self._ledger.with_suffix(".tmp")
        mine.write_bytes(LEFTOVERS.dump_json(rows))
        mine.replace(self._ledger)

    def _failure(self, name: str, what: str) -> Unavailable:
        log = self.log_of(name)
        tail = tail_of(log)
        if any(words in tail for words in FULL_DISK):
            what += "; the disk is full: free some space and start again"
        return Unavailable(f"{name} {what}. The end of its log ({log}):\n{tail or '(empty)'}", child=name)


def end_leftovers(folder: Path) -> list[str]:
    """End what an earlier launch in `folder` left running; gives the names. A stranger's process is never touched."""
    ledger = folder / "run" / "children.json"
    try:
        rows = LEFTOVERS.validate_json(ledger.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    listed = {row.name: process for row in rows if (process := _process(row.pid, row.started_at)) is not None}
    inherited = _of_launch({row.launch for row in rows})
    _end([*listed.values(), *inherited], lambda: GRACE_S)
    ledger.unlink(missing_ok=True)
    known = {process.pid for process in listed.values()}
    return sorted(listed) + [f"process {process.pid}" for process in inherited if process.pid not in known]


def recent(deaths: list[float]) -> list[float]:
    """The deaths within DEATHS_WINDOW_S of the last one (monotonic seconds, rising)."""
    return [at for at in deaths if deaths[-1] - at <= DEATHS_WINDOW_S]


def tail_of(log: Path) -> str:
    """The last lines of a log, bounded."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end_with_launcher(launcher: int) -> Callable[[], None]:
    """What a child does before it begins: on Linux it asks for SIGTERM when the launcher dies, however that dies."""

    def tie() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != launcher:
                os.kill(os.getpid(), signal.SIGTERM)

    return tie


def _started_at(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _process(pid: int, started_at: float) -> psutil.Process | None:
    try:
        found = psutil.Process(pid)
        return found if abs(found.create_time() - started_at) < 0.02 else None
    except psutil.NoSuchProcess:
        return None


def _of_launch(launches: set[str]) -> list[psutil.Process]:
    """Every process that carries one of these launch ids in its environment, whoever started it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(LAUNCH_VARIABLE) in launches:
                found.append(process)
    return found


def _end(processes: Iterable[psutil.Process | None], grace: Callable[[], float]) -> None:
    alive = [process for process in processes if process is not None]
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    began = time.monotonic()
    while (alive := [process for process in alive if _is_alive(process)]) and time.monotonic() - began < grace():
        time.sleep(0.05)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=2.0)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
