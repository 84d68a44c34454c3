"""Bags converted by the workers of a Dask cluster: a task for each, which runs the same bounded child as everywhere.

Imported only where this is chosen (YARDMASTER_BAGS_RUNNER): Dask costs a second and 40 MB.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import anyio
from distributed import KilledWorker, Worker, get_worker
from prefect import task
from prefect_dask import DaskTaskRunner
from prefect_dask.task_runners import PrefectDaskFuture
from pydantic import BaseModel, ConfigDict

from fleet.errors import Unavailable
from orchestration import heavy
from orchestration.work.bags import Converted, apart_if_need_be, convert_bags, not_converted

LOCAL_WORKERS = 2
LOOK_S = 0.5
ENDING_S = 10.0
EXECUTING = {"executing", "long-running"}
Told = Callable[[UUID, str, int], Awaitable[None]]


class Limits(BaseModel):
    """What each child may take, and the topic under which it tells how far it is."""

    model_config = ConfigDict(frozen=True)

    memory_max_bytes: int
    timeout_s: float
    topic: str


@task(name="convert-bag")
async def convert_bag(organisation: str, bag_id: UUID, limits: Limits) -> Converted:
    """Convert one bag in a child of this Dask worker; the child ends when nobody waits for it any more."""
    worker = get_worker()
    key = worker.get_current_task()
    child = asyncio.create_task(_in_child(worker, organisation, bag_id, limits))
    while not child.done():
        await asyncio.wait([child], timeout=LOOK_S)
        known = worker.state.tasks.get(key)
        # Cancelled, or whoever asked for it was killed: Dask itself lets it run on to its end.
        if known is None or known.state not in EXECUTING:
            child.cancel()
    return await child


async def _in_child(worker: Worker, organisation: str, bag_id: UUID, limits: Limits) -> Converted:
    def pass_on(news: tuple[UUID, str, int]) -> None:
        worker.log_event(limits.topic, [str(news[0]), *news[1:]])

    async def alone(bags: Sequence[UUID]) -> list[Converted]:
        return await heavy.run(
            convert_bags,
            organisation,
            list(bags),
            memory_max_bytes=limits.memory_max_bytes,
            timeout_s=limits.timeout_s,
            on_news=pass_on,
        )

    return (await apart_if_need_be(alone, [bag_id]))[0]


async def fan_out(
    scheduler: str, organisation: str, bag_ids: Sequence[UUID], limits: Limits, told: Told
) -> list[Converted]:
    """What became of each bag, in their order; cancelled, it ends every child.

    Without the address of a `scheduler` two workers of this process do it.

    Raises:
        Unavailable: the scheduler does not answer.
    """
    loop, is_ended = asyncio.get_running_loop(), threading.Event()
    news: asyncio.Queue[tuple[UUID, str, int]] = asyncio.Queue()

    def hear(event: tuple[float, Any]) -> None:
        bag_id, stage, done = event[1]
        loop.call_soon_threadsafe(news.put_nowait, (UUID(bag_id), stage, done))

    def fan() -> list[Converted]:
        with _runner(scheduler) as runner:
            runner.client.subscribe_topic(limits.topic, hear)
            asked = [{"organisation": organisation, "bag_id": bag_id, "limits": limits} for bag_id in bag_ids]
            futures = [runner.submit(convert_bag, parameters=parameters) for parameters in asked]
            return collected(dict(zip(bag_ids, futures, strict=True)), is_ended)

    teller = asyncio.create_task(_pass_on(news, told))
    fanning = asyncio.create_task(asyncio.to_thread(fan))
    try:
        return await asyncio.shield(fanning)
    finally:
        is_ended.set()
        teller.cancel()
        with anyio.move_on_after(ENDING_S, shield=True):
            await asyncio.wait([fanning])


@contextmanager
def _runner(scheduler: str) -> Iterator[DaskTaskRunner]:
    # Within this process there are no ports to listen on, and what needs a process of its own has one.
    local = {"n_workers": LOCAL_WORKERS, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    made = DaskTaskRunner(address=scheduler) if scheduler else DaskTaskRunner(cluster_kwargs=local)
    with made as runner:
        try:
            runner.client  # noqa: B018  it connects when it is first asked for
        except OSError as error:
            raise Unavailable(
                f"The Dask scheduler {scheduler} does not answer: {error}. Start it, or correct YARDMASTER_DASK_SCHEDULER."
            ) from error
        yield runner


def collected(asked: Mapping[UUID, PrefectDaskFuture[Converted]], is_ended: threading.Event) -> list[Converted]:
    """What became of each bag when all are done; nothing of any when it is ended before, and all are cancelled."""
    try:
        while not is_ended.wait(LOOK_S):
            if all(future.wrapped_future.done() for future in asked.values()):
                return [_outcome(bag_id, future) for bag_id, future in asked.items()]
    finally:
        for future in asked.values():
            future.wrapped_future.cancel()
    return []


def _outcome(bag_id: UUID, future: PrefectDaskFuture[Converted]) -> Converted:
    try:
        outcome: Converted = future.result()
        return outcome
    except KilledWorker as killed:
        error = Unavailable(f"The Dask workers that converted it were killed one after the other: {killed}")
        return not_converted(bag_id, error, is_worth_a_try=True)
    except CancelledError as lost:
        error = Unavailable(f"The Dask scheduler was lost while the bag was converted: {lost}")
        return not_converted(bag_id, error, is_worth_a_try=True)


async def _pass_on(news: asyncio.Queue[tuple[UUID, str, int]], told: Told) -> None:
    while True:
        await told(*await news.get())
