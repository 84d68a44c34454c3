"""The whole platform on one machine: every process started in order, watched, and ended together.

The launcher itself stays small: what needs a database or Prefect runs in short children of its own.
"""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from deployments.access import Access, access_of, write_private, write_secret
from deployments.arrival import tell_arrival
from deployments.links import Links, answers, broker_command, own_domain, write_broker_config
from deployments.ports import HOST, Ports, choose_ports
from deployments.prefect_server import is_worker_online
from deployments.supervise import Child, Supervisor, end_leftovers
from deployments.surroundings import surroundings
from fleet.errors import Conflict, Unavailable
from fleet.settings import make_folder
from fleet.timepieces import SystemClock
from fleet.transport import probe

SPACE_MIN_BYTES = 1_000_000_000
LOCK = "launcher.lock"
KEPT = (LOCK, "run")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to launch: `var` holds everything it writes; `site` are options of the simulated site, None for no site."""

    var: Path
    port_base: int | None = None
    robots: int = 4
    site: Mapping[str, object] | None = field(default_factory=dict)
    restarts: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    is_fresh: bool = False


@dataclass(frozen=True)
class Platform:
    """A running platform."""

    var: Path
    ports: Ports
    links: Links
    access: Access
    supervisor: Supervisor
    environment: Mapping[str, str]

    @property
    def prefect_url(self) -> str:
        """The Prefect server's pages; its API is below /api."""
        return f"http://{HOST}:{self.ports.prefect}"

    @property
    def api_url(self) -> str:
        """Our own API."""
        return f"http://{HOST}:{self.ports.api}"

    @property
    def site_url(self) -> str:
        """The simulated manufacturer's cloud."""
        return f"http://{HOST}:{self.ports.site}"


@contextmanager
def launched(wanted: Wanted, *, say: Say) -> Iterator[Platform]:
    """The platform, healthy; every process it started is ended when the block ends, however it ends.

    Raises:
        Conflict: another launcher runs in the same folder, or a chosen port is in use.
        Unavailable: the folder cannot be written to, the disk is too full, or a process died or was not
            healthy in time (with the end of its log).
    """
    var = wanted.var.resolve()
    if wanted.is_fresh:
        check_ours(var)
    make_folder(var)
    check_space(var)
    with _alone(var):
        for name in end_leftovers(var):
            say(f"Ended {name}, which an earlier start had left running.")
        if wanted.is_fresh:
            _empty(var)
        ports = choose_ports(wanted.port_base)
        supervisor = Supervisor(var, say=say)
        with own_domain() as domain, _signals(supervisor):
            links = Links(domain, f"mqtt://{HOST}:{ports.broker}" if broker_command() else "")
            try:
                yield _start(wanted, var, ports, links, supervisor, say)
            finally:
                say("Stopping ...")
                supervisor.stop()


def shown(path: Path) -> str:
    """A path as a person would type it from where the command was started."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def own_command() -> str:
    """How a person starts `yardmaster` here: by its name where that is found, else by its path."""
    script = Path(sys.executable).with_name("yardmaster")
    found = shutil.which("yardmaster")
    return "yardmaster" if found and Path(found) == script else shown(script)


def check_ours(var: Path) -> None:
    """Refuse to empty a folder in which no launcher has ever run.

    Raises:
        Conflict: it holds files, and none of them is a launcher's lock.
    """
    if var.is_dir() and any(var.iterdir()) and not (var / LOCK).exists():
        raise Conflict(
            f"{var} would be emptied, but it holds files that no night has written. Move them, or choose another "
            "folder with --var.",
            folder=str(var),
        )


def _empty(var: Path) -> None:
    """Remove what an earlier night wrote, but for the lock we hold."""
    for path in var.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_space(var: Path) -> None:
    """Refuse to begin on a disk that is nearly full.

    Raises:
        Unavailable: less than SPACE_MIN_BYTES are free.
    """
    free = shutil.disk_usage(var).free
    if free < SPACE_MIN_BYTES:
        raise Unavailable(
            f"The disk of {var} has {free / 1e6:.0f} MB free; Yardmaster needs {SPACE_MIN_BYTES / 1e6:.0f} MB to start. "
            "Free some space, or choose another folder with --var.",
            free_bytes=free,
        )


def _start(wanted: Wanted, var: Path, ports: Ports, links: Links, supervisor: Supervisor, say: Say) -> Platform:
    environment = surroundings(var, ports) | dict(wanted.environment)
    for folder in ("prefect", "dagster", "cache", "site", "gateway"):
        (var / folder).mkdir(exist_ok=True)
    say("Starting the Prefect server ...")
    supervisor.start(_prefect_server(ports, environment))
    say("Bringing the database up to date ...")
    supervisor.run(_seed(wanted, ports, links, environment))
    platform = Platform(var, ports, links, access_of(var), supervisor, environment)
    say(f"Starting the API, the dispatcher, the gateway and the site; {_wired(links)} ...")
    began = SystemClock().now()
    for child in _rooms(wanted, platform):
        supervisor.start(child)
    supervisor.wait_ready("prefect-server")
    say("Deploying the flows ...")
    supervisor.run(Child("deploy", _python("orchestration.deploy"), environment))
    supervisor.start(_worker(platform))
    supervisor.wait_ready(*supervisor.process_ids)
    tell_arrival(platform.api_url, platform.access.operator_token, began, supervisor, say)
    supervisor.restarts = wanted.restarts  # not before: what cannot even start is told at once
    return platform


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _prefect_server(ports: Ports, environment: Mapping[str, str]) -> Child:
    url = f"http://{HOST}:{ports.prefect}/api/health"
    command = _python("orchestration.server", "--host", HOST, "--port", str(ports.prefect))
    return Child("prefect-server", command, environment, lambda: probe(url) == 200, stops_last=True)


def _wired(links: Links) -> str:
    robots = f"its robots speak ROS 2 in DDS domain {links.domain}"
    is_mixed = "the last of them VDA 5050" if links.mqtt_url else "none VDA 5050, for mosquitto is not installed"
    return f"{robots}, {is_mixed}"


def _seed(wanted: Wanted, ports: Ports, links: Links, environment: Mapping[str, str]) -> Child:
    site = ("--site-url", f"http://{HOST}:{ports.site}", "--robots", str(wanted.robots))
    arguments = ("db", "seed", *site, "--domain", str(links.domain), "--mqtt-url", links.mqtt_url)
    return Child("database", _python("deployments.cli", *arguments), environment)


def _rooms(wanted: Wanted, platform: Platform) -> list[Child]:
    environment, ports = platform.environment, platform.ports
    api = _python("api.serve", "--host", HOST, "--port", str(ports.api))
    children = [
        Child("api", api, environment, lambda: probe(f"{platform.api_url}/readyz") == 200),
        Child("dispatcher", _python("orchestration.dispatcher"), environment),
        _gateway(platform),
    ]
    broker = broker_command()
    if broker and platform.links.mqtt_url:
        config = write_broker_config(platform.var / "run", ports.broker)
        children.append(Child("broker", (broker, "-c", str(config)), environment, lambda: answers(ports.broker)))
    if wanted.site is not None:
        options = platform.var / "run" / "site.json"
        write_private(options, _site_options(wanted, platform))
        command = _python("deployments.cli", "simulate", "--options", str(options))
        children.append(Child("site", command, environment, lambda: probe(platform.site_url) is not None))
    return children


def _gateway(platform: Platform) -> Child:
    """The process near the robots: it finds the way to them by its token alone, as it would from another machine."""
    token, folder = platform.var / "run" / "gateway.token", platform.var / "gateway"
    write_secret(token, platform.access.gateway_token)
    url = f"ws://{HOST}:{platform.ports.api}/v1/link"
    arguments = ("--url", url, "--token-file", str(token), "--journal", str(folder / "journal.db"))
    return Child("gateway", _python("orchestration.gateway", *arguments), platform.environment)


def _site_options(wanted: Wanted, platform: Platform) -> dict[str, object]:
    access = platform.access
    return {
        "port": platform.ports.site,
        "robots": wanted.robots,
        "api_url": platform.api_url,
        "device_token": access.device_token,
        "webhook_url": f"{platform.api_url}/v1/webhooks/{access.account_id}",
        "webhook_secret": access.webhook_secret,
        "credential": access.credential,
        "bags_dir": str(platform.var / "site"),
        "ros2_url": platform.links.ros2_url,
        "mqtt_url": platform.links.mqtt_url,
        **(wanted.site or {}),
    }


def _worker(platform: Platform) -> Child:
    url = platform.prefect_url
    return Child("worker", _python("orchestration.worker"), platform.environment, lambda: is_worker_online(url))


@contextmanager
def _alone(var: Path) -> Iterator[None]:
    """Only one launcher works in a folder; the lock ends with the process, also when that is killed."""
    with (var / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise Conflict(
                f"Another launcher (process {holder}) already runs the platform in {var}. "
                "Stop it with Ctrl-C, or choose another folder with --var.",
                process=holder,
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _signals(supervisor: Supervisor) -> Iterator[None]:
    """The first TERM, HUP or Ctrl-C ends the block; a second one makes the stop hurry, and none interrupts it."""

    def stop(number: int, frame: FrameType | None) -> None:
        if is_stopping:
            supervisor.is_hurried = True
            return
        is_stopping.append(number)
        raise KeyboardInterrupt

    is_stopping: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
