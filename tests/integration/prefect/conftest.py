"""A real Prefect server, a migrated database and the real worker process, for the tests of this folder."""

import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from deployments.schema import migrate
from fleet.organisations import Organisation, Site, Station, StationKind
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings
from ingestion.models import Bag

ROOT = Path(__file__).parents[3]
WITHIN_S = 180.0  # what takes a second or two on an idle machine
START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
FLOAT = "std_msgs/msg/Float64"
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
T = TypeVar("T")
TRIAL = '''
"""Flows that only try out the worker."""

import asyncio
import os
import time

from prefect import flow

from fleet.errors import Invalid
from orchestration import heavy


@flow(name="trial-wait")
async def wait(seconds: float = 0.1) -> None:
    await asyncio.sleep(seconds)


@flow(name="trial-fail")
async def fail(how: str = "invalid") -> None:
    if how == "exit":
        raise SystemExit(3)
    raise Invalid("how: it is wrong.")


@flow(name="trial-heavy")
async def work() -> None:
    await heavy.run(time.sleep, 300, memory_max_bytes=10**9, timeout_s=300)
'''


def until(question: Callable[[], T], is_enough: Callable[[T], bool], *, within_s: float = WITHIN_S) -> T:
    end = time.monotonic() + within_s
    while not is_enough(answer := question()):
        assert time.monotonic() < end, f"waited {within_s} s; the last answer was {answer!r}"
        time.sleep(0.1)
    return answer


def die_with_us() -> None:
    """In a child that is about to begin: it is killed when this test run is, which ends nothing itself then."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Prefect:
    """What an operator can do in Prefect's pages, and the worker process that serves them."""

    api: httpx.Client
    runtime: Runtime
    environment: dict[str, str]
    log: Path
    worker: "subprocess.Popen[bytes] | None" = None
    server: "subprocess.Popen[bytes] | None" = None
    ids: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, content: Any) -> Any:
        return self._asked(lambda: self.api.post(path, json=content)).json()

    def delete(self, path: str) -> None:
        self._asked(lambda: self.api.delete(path))

    def _asked(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer; SQLite under several runs answers 503 (locked) or late, and Prefect's own clients try again too."""

        def answer() -> httpx.Response | None:
            try:
                return call()
            except httpx.ReadTimeout:
                return None

        found = until(answer, lambda answer: answer is not None and answer.status_code != 503)
        assert found is not None
        return found.raise_for_status()

    def press(self, deployment: str, **parameters: object) -> str:
        form = {"parameters": parameters, "idempotency_key": str(uuid4())}
        return str(self.post(f"/deployments/{self.ids[deployment]}/create_flow_run", form)["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self._asked(lambda: self.api.get(f"/flow_runs/{run_id}")).json())

    def state(self, run_id: str, *wanted: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The state of the run as soon as it is one of `wanted` (default: any final one)."""
        names = set(wanted) or FINAL
        return until(lambda: self.run(run_id), lambda run: run["state_type"] in names, within_s=within_s)["state"]

    def cancel(self, run_id: str) -> None:
        self.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})

    def artifacts(self, run_id: str) -> dict[str, Any]:
        found = self.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
        return {artifact["key"]: artifact["data"] for artifact in found}

    def resume(self, run_id: str, **answer: object) -> dict[str, Any]:
        return dict(self.post(f"/flow_runs/{run_id}/resume", {"run_input": answer} if answer else {}))

    def start_server(self) -> None:
        """Start the server and wait until it answers; its database is that of the one before."""
        with self.log.with_name("server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "orchestration.server", "--host", "127.0.0.1", "--port", self.port],
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_us,
            )
        until(lambda: _is_healthy(self.api) or self._server_ended(), bool)
        assert not self._server_ended(), self.log.with_name("server.log").read_text()

    def _server_ended(self) -> bool:
        return self.server is None or self.server.poll() is not None

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    @property
    def port(self) -> str:
        return self.environment["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2]

    def start_worker(self) -> None:
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "orchestration.worker"],
                cwd=ROOT,
                env=self.environment,
                stderr=log,
                stdout=log,
                preexec_fn=die_with_us,
            )

    def end_worker(self, number: signal.Signals) -> int:
        assert self.worker is not None
        self.worker.send_signal(number)
        return self.worker.wait(timeout=15)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _deployments(folder: Path) -> Path:
    """prefect.yaml without its schedules, and the flows that only try out the worker."""
    (folder / "trial_flows.py").write_text(TRIAL)
    file = folder / "prefect.yaml"
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for entry in entries:
        entry.pop("schedules", None)
    trial = {"wait": "trial-wait", "fail": "trial-fail", "work": "trial-heavy"}
    entries += [
        {"name": name, "entrypoint": f"trial_flows.{function}", "description": "Tries out the worker."}
        for function, name in trial.items()
    ]
    file.write_text(yaml.safe_dump({"deployments": entries}))
    return file


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    folder = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{_free_port()}"
    environment = {
        **os.environ,
        "YARDMASTER_VAR_DIR": str(folder / "var"),
        "YARDMASTER_PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_HOME": str(folder / "var/prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": f"{folder}:{ROOT}",
    }
    runtime = open_runtime(Settings(var_dir=folder / "var"))
    migrate(runtime.engine)
    api = httpx.Client(base_url=f"{url}/api", timeout=30, trust_env=False)
    prefect = Prefect(api, runtime, environment, folder / "worker.log")
    try:
        prefect.start_server()
        yield prefect
    finally:
        api.close()
        runtime.engine.dispose()
        if prefect.server is not None:
            _end(prefect.server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _is_healthy(api: httpx.Client) -> bool:
    try:
        return api.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def deployed(installation: Prefect) -> Prefect:
    """The server knows our deployments; nobody serves them yet."""
    file = _deployments(Path(installation.environment["PYTHONPATH"].partition(":")[0]))
    apply = f"""
import asyncio, pathlib
from fleet.runtime import open_runtime
from orchestration.pool_settings import point_prefect_here
point_prefect_here(open_runtime())
from orchestration.pool_deployments import apply
first = asyncio.run(apply(pathlib.Path({str(file)!r})))
print(len(first) == {len(yaml.safe_load(file.read_text())["deployments"])}, end=" ")
print(len(asyncio.run(apply(pathlib.Path({str(file)!r})))))
"""
    ran = subprocess.run(
        [sys.executable, "-c", apply],
        env=installation.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.stdout.split() == ["True", "0"], ran.stdout + ran.stderr  # the second time there is nothing to do
    found = installation.post("/deployments/filter", {})
    installation.ids = {row["name"]: row["id"] for row in found}
    return installation


@pytest.fixture(scope="session")
def demo_site(installation: Prefect) -> UUID:
    """Organisation `demo` with site `north-plant` of two inspection points; gives the organisation's id."""
    with installation.runtime.transaction() as session:
        organisation = Organisation(name="demo", created_at=datetime(2026, 3, 1, tzinfo=UTC))
        session.add(organisation)
        session.flush()
        site = Site(organisation_id=organisation.id, name="north-plant", timezone="Europe/Berlin")
        session.add(site)
        session.flush()
        session.add_all(
            Station(
                organisation_id=organisation.id,
                site_id=site.id,
                name=name,
                kind=StationKind.inspection_point,
                x_m=1.0,
                y_m=2.0,
            )
            for name in ("press-1", "press-2")
        )
        return organisation.id


@pytest.fixture
def prefect(deployed: Prefect, demo_site: UUID) -> Iterator[Prefect]:
    """The installation with a worker that runs."""
    if deployed.worker is None or deployed.worker.poll() is not None:
        deployed.start_worker()
    yield deployed
    if deployed.worker is not None and deployed.worker.poll() is not None:
        deployed.start_worker()


@pytest.fixture(scope="session", autouse=True)
def _worker_ends(installation: Prefect) -> Iterator[None]:
    yield
    if installation.worker is not None and installation.worker.poll() is None:
        installation.worker.kill()
        installation.worker.wait()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return until


@pytest.fixture
def stored(installation: Prefect, demo_site: UUID) -> Callable[[bytes, str], str]:
    """A bag of these bytes, not converted yet; gives its id."""

    def store(content: bytes, filename: str) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{demo_site}/bags/{sha256}"
        installation.runtime.objects.put(key, content)
        known = {"filename": filename, "object_key": key, "uploaded_at": installation.runtime.clock.now()}
        bag = Bag(organisation_id=demo_site, sha256=sha256, size=len(content), **known)
        with installation.runtime.transaction() as session:
            session.add(bag)
        return str(bag.id)

    return store


@pytest.fixture
def recording(tmp_path: Path) -> bytes:
    """A minute of /voltage, of other content for each test: they share one organisation, in which content is one bag."""
    volts = float(uuid4().int % 1_000_000)
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        line = writer.add_connection("/voltage", FLOAT, typestore=types)
        for second in range(60):
            content = types.serialize_cdr(types.types[FLOAT](data=volts), FLOAT)
            writer.write(line, START_NS + second * 10**9, content)
    return (tmp_path / "run" / "run.mcap").read_bytes()
