"""Where a flow touches the ground: the runtime of its process, its own name, and the clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import anyio
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.runtime import deployment, flow_run
from sqlmodel import Session

from fleet.runtime import Runtime, open_runtime
from orchestration import heavy

R = TypeVar("R")
Told = Callable[..., Awaitable[None]]
LOOK_S = 1.0


@cache
def runtime() -> Runtime:
    """The parts of this process; opened when the first flow needs them."""
    return open_runtime()


def who(flow_name: str) -> str:
    """The actor that is written beside everything this run changes."""
    return f"prefect:{deployment.name or flow_name}"


def asked_at() -> datetime:
    """When this run was to begin; the same however often it is carried out."""
    at = flow_run.scheduled_start_time
    assert isinstance(at, datetime)
    return at


def run_id() -> str:
    """The id of this flow run: the first part of every idempotency key it gives."""
    return str(flow_run.id)


def tries() -> int:
    """How often this run has begun, this time included."""
    return int(flow_run.run_count)


async def call_this_run(name: str) -> None:
    """Give this run a name that says what it is about, where that is known only once it has begun."""
    async with get_client() as client:
        await client.update_flow_run(UUID(run_id()), name=name)


async def may_be_tried_again(*, retries: int, after_s: int) -> None:
    """What this run raises next is not its end: Prefect tries it again, so often in all.

    Retries of the flow itself would also repeat what never helps: a form that was not filled in right, a bag that is none.
    """
    async with get_client() as client:
        policy = FlowRunPolicy(retries=retries, retry_delay=after_s)
        await client.update_flow_run(UUID(run_id()), empirical_policy=policy)


async def written(change: Callable[[Session], R]) -> R:
    """What `change` gives, done in a transaction of its own, off the event loop."""
    return await asyncio.to_thread(_write, change)


async def looked_up(question: Callable[[Session], R]) -> R:
    """What `question` gives, read off the event loop."""
    return await asyncio.to_thread(_read, question)


def _write(change: Callable[[Session], R]) -> R:
    with runtime().transaction() as session:
        return change(session)


def _read(question: Callable[[Session], R]) -> R:
    with runtime().reading() as session:
        return question(session)


async def looks() -> AsyncIterator[None]:
    """At once, and then every LOOK_S seconds: how a flow waits for what others write into the database."""
    while True:
        yield
        await anyio.sleep(LOOK_S)


async def in_child(function: Callable[..., R], *arguments: object, timeout_s: float, told: Told | None = None) -> R:
    """What `function(*arguments)` gives, from a heavy child; each tuple that the child tells goes to `told`."""
    news: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    teller = asyncio.create_task(_pass_on(news, told))
    try:
        return await heavy.run(
            function,
            *arguments,
            memory_max_bytes=runtime().settings.heavy_memory_max_bytes,
            timeout_s=timeout_s,
            on_news=news.put_nowait,
        )
    finally:
        teller.cancel()


async def _pass_on(news: asyncio.Queue[tuple[Any, ...]], told: Told | None) -> None:
    while told is not None:
        await told(*await news.get())
