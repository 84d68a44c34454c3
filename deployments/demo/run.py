"""The demo's run: a fresh folder, the platform, the stages, the table, and everything ended again."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from deployments.demo.bags import recordings_in
from deployments.demo.missions import BLOCKED_STATION
from deployments.demo.night import Night
from deployments.demo.stages import Done, carry_out, keep, show, stages_of
from deployments.local import Platform, Wanted, launched, own_command, shown
from deployments.prefect_server import PrefectServer
from fleet.clock import SystemClock
from fleet.errors import YardmasterError
from fleet.runtime import open_runtime
from fleet.settings import Settings, set_environment
from fleet.transport import open_transport

TOLD_EVERY_S = 10.0
WIDTH = 150  # of the table where no terminal says its own
# The demo is the same everywhere: what an installation has set for itself does not reach it.
EMBEDDED = {
    "YARDMASTER_ENVIRONMENT": "development",
    "YARDMASTER_DATABASE_URL": "",
    "YARDMASTER_OBJECTS_URL": "",
    "YARDMASTER_MLFLOW_TRACKING_URI": "",
    "YARDMASTER_DAGSTER_HOME": "",
}


def run(var: Path, *, bags: Path | None, port_base: int | None, speed: float) -> int:
    """One whole night in the folder `var`, which is emptied first; 0 when every stage's check held, else 1."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    recordings = recordings_in(bags) if bags else []
    var = var.resolve()
    set_environment(EMBEDDED)
    site = {"speed": speed, "blocked_once": [BLOCKED_STATION]}
    wanted = Wanted(var, port_base, site=site, restarts=False, environment=EMBEDDED, is_fresh=True)
    began, done, pids = time.monotonic(), list[Done](), list[int]()
    try:
        with launched(wanted, say=lambda text: console.print(escape(text), highlight=False)) as platform:
            pids = list(platform.supervisor.process_ids.values())
            done.append(_started(platform, time.monotonic() - began))
            asyncio.run(_night(platform, recordings, done, console))
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return 130
    except YardmasterError as error:
        done.append(Done("Platform", "", time.monotonic() - began, shown(var / "logs"), (error.message,)))
    done.append(_ended(pids, var))
    seconds = time.monotonic() - began
    show(console, done, seconds=seconds)
    console.print(
        f"Everything is stopped. To walk through what is there now: {own_command()} --var {shown(var)} up",
        soft_wrap=True,
    )
    console.print(
        f"The same for machines: {shown(keep(var, done, seconds=seconds, at=SystemClock().now()))}", soft_wrap=True
    )
    return 1 if any(stage.problems for stage in done) else 0


async def _night(platform: Platform, recordings: list[Path], done: list[Done], console: Console) -> None:
    async with (
        open_transport(platform.prefect_url, timeout_s=20) as prefect,
        open_transport(platform.api_url, timeout_s=60) as api,
    ):
        runtime = open_runtime(Settings(var_dir=platform.var, log_level="warning"))
        for stage in stages_of(recordings):
            with _progress(console, stage[0]) as tell:
                done.append(await carry_out(stage, Night(platform, runtime, PrefectServer(prefect), api, tell)))
            verdict = "FAILED" if done[-1].problems else "ok"
            console.print(
                f"{stage[0]}: {escape(done[-1].how_many)} [{done[-1].seconds:.0f} s, {verdict}]", highlight=False
            )
        runtime.engine.dispose()


@contextmanager
def _progress(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """How far a stage is: a living line on a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        with console.status(f"{what} ...") as status:
            yield lambda text: status.update(f"{what}: {escape(text)}")
        return
    console.print(f"{what} ...", highlight=False)
    told = [time.monotonic()]

    def tell(text: str) -> None:
        if time.monotonic() - told[0] >= TOLD_EVERY_S:
            told[0] = time.monotonic()
            console.print(f"  {escape(text)}", highlight=False)

    yield tell


def _started(platform: Platform, seconds: float) -> Done:
    pids = platform.supervisor.process_ids
    megabytes = sum(psutil.Process(pid).memory_info().rss for pid in pids.values()) / 1e6
    return Done("Start", f"{len(pids)} processes, {megabytes:.0f} MB", seconds, shown(platform.var / "logs"))


def _ended(pids: list[int], var: Path) -> Done:
    left = [pid for pid in pids if psutil.pid_exists(pid)]
    problems = tuple(f"process {pid} is still running" for pid in left)
    return Done("Stop", f"{len(pids)} processes ended", 0.0, shown(var), problems)
