"""What the worker process does side by side: serve the pool, watch for cancelling, carry requests, show the board."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import NoReturn

import anyio
import structlog
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from fleet.runtime import Runtime
from orchestration import desk, desk_events, desk_mirror, desk_watch
from orchestration.pool import POOL, YardmasterWorker

log = structlog.get_logger(__name__)
HAND_BACK_S = 3.0
BACKOFF_MAX_S = 10.0
RETRIES_MAX = 2  # after 2 s and 4 s
THREADS = 16  # three of them always wait for bells; the standard is six on a machine with two processors


class Crew:
    """The worker of this process and the desk beside it."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing is connected yet."""
        self._runtime = runtime
        # What the worker says of each run is on the server's record of states already.
        logging.getLogger("prefect.flow_runs.worker").setLevel(logging.WARNING)
        self._worker = YardmasterWorker(POOL, name=runtime.settings.worker_name)

    def serve(self, stopping: threading.Event) -> None:
        """Run the event loop until `stopping` is set; sets it itself when the loop ends."""
        try:
            asyncio.run(self._serve(stopping))
        finally:
            stopping.set()

    async def _serve(self, stopping: threading.Event) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="desk"))
        async with anyio.create_task_group() as group:
            for name, duty in (
                ("worker", self._work),
                ("cancelling", self._watch_cancelling),
                ("requests", self._carry_requests),
                ("board", self._show_board),
                ("mirror", self._mirror),
                ("events", self._tell_events),
            ):
                group.start_soon(keep_up, name, duty)
            log.info("worker started", worker=self._worker.identity, pool=POOL)
            await asyncio.to_thread(stopping.wait)
            await self._hand_back()
            group.cancel_scope.cancel()
        log.info("worker stopped", worker=self._worker.identity)

    async def _hand_back(self) -> None:
        self._worker.hand_back()
        with anyio.move_on_after(HAND_BACK_S):
            await self._worker.at_rest()

    async def _work(self) -> None:
        # A worker that gave up (server away for minutes) is replaced; what it had in hand it has ended.
        self._worker = YardmasterWorker(POOL, name=self._runtime.settings.worker_name)
        await self._worker.start(printer=log.debug)

    async def _watch_cancelling(self) -> None:
        async with desk_client() as client:
            await desk_watch.watch(client, lambda: self._worker, self._runtime.transaction, self._runtime.reading)

    async def _carry_requests(self) -> None:
        async with desk_client() as client:
            await desk.carry(client, self._runtime.transaction, self._runtime.reading, self._runtime.doorbell)

    async def _show_board(self) -> None:
        async with desk_client() as client:
            await desk.show(client, self._runtime.reading)

    async def _mirror(self) -> None:
        async with desk_client() as client:
            await desk_mirror.mirror(client, self._runtime.transaction, self._runtime.reading)

    async def _tell_events(self) -> None:
        async with desk_client() as client:
            await desk_events.tell(client, self._runtime.transaction, self._runtime.reading, self._runtime.doorbell)


@asynccontextmanager
async def desk_client() -> AsyncIterator[PrefectClient]:
    """A client that gives up soon, for duties that are taken up again.

    Prefect's own patience grows to a minute and longer, so that it looks away for half a minute after the server is back.
    Flows keep that patience: what they did for hours should not be lost because its end could not be told at once.
    """
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES_MAX}):
        async with get_client() as client:
            yield client


async def keep_up(name: str, duty: Callable[[], Awaitable[None]]) -> NoReturn:
    """Do `duty` for ever: when it fails (the Prefect server away, the database busy) log it and begin again, later."""
    wait_s = 1.0
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await duty()
        except Exception as error:  # outermost loop: nothing that one duty meets may end the process
            log.warning("will try again", duty=name, error=_first_line(error), wait_s=wait_s)
            log.debug("trace", duty=name, exc_info=True)
        if asyncio.get_running_loop().time() - began > BACKOFF_MAX_S:
            wait_s = 1.0
        await anyio.sleep(wait_s)
        wait_s = min(wait_s * 2, BACKOFF_MAX_S)


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
