"""Group commit: many webhooks share one commit, and each is answered only after it.

A queue, one writer thread, no timer: while one batch is committed the next gathers by itself, so a lone webhook waits
for nothing and a crowd costs few commits.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlmodel import Session

from fleet.errors import Invalid, Unavailable, YardmasterError
from ingestion import inbox
from ingestion.models import Delivery

log = structlog.get_logger(__name__)

BATCH_MAX = 512
BATCH_MAX_BYTES = 16_000_000
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 64_000_000
STOP_S = 4.0
Transaction = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class _Waiting:
    delivery: Delivery
    answer: "asyncio.Future[None]"
    loop: asyncio.AbstractEventLoop


class GroupCommit:
    """Stores deliveries in the inbox; made and used on one event loop, written by one thread."""

    def __init__(self, transaction: Transaction) -> None:
        """`transaction` opens a write transaction that is committed when its block ends."""
        self._transaction = transaction
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._write, name="group-commit", daemon=True)
        self._waiting = 0
        self._waiting_bytes = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits and end, within STOP_S seconds."""
        self._queue.put(None)
        self._thread.join(STOP_S)

    @property
    def is_alive(self) -> bool:
        """Whether the writer writes."""
        return self._thread.is_alive()

    async def store(self, delivery: Delivery) -> None:
        """Returns when the delivery is committed; a second one of the same account and key changes nothing.

        Raises:
            Unavailable: too many wait already, or the database did not take it; nothing is acknowledged.
            Invalid: the database can never take it.
        """
        is_full = self._waiting >= WAITING_MAX or self._waiting_bytes >= WAITING_MAX_BYTES
        if is_full or not self.is_alive:
            raise Unavailable("More deliveries wait than can be stored now; send it again in a moment.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self._waiting += 1
        self._waiting_bytes += len(delivery.body)
        self._queue.put(_Waiting(delivery, answer, loop))
        try:
            await answer
        finally:
            self._waiting -= 1
            self._waiting_bytes -= len(delivery.body)

    def _write(self) -> None:
        while batch := self._gather():
            self._store(batch)

    def _store(self, batch: Sequence[_Waiting]) -> None:
        error: YardmasterError | None = Unavailable("The writer of the inbox stopped; send it again.")
        try:
            error = self._commit(batch)
        finally:
            # Also when something unforeseen ends this thread, nobody is left waiting for an answer.
            if isinstance(error, Invalid) and len(batch) > 1:
                for one in batch:
                    self._store([one])
            else:
                _answer(batch, error)

    def _gather(self) -> list[_Waiting]:
        """The next batch, at least one; empty when it is time to stop."""
        first = self._queue.get()
        if first is None:
            return []
        batch, size = [first], len(first.delivery.body)
        while len(batch) < BATCH_MAX and size < BATCH_MAX_BYTES:
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
            size += len(following.delivery.body)
        return batch

    def _commit(self, batch: Sequence[_Waiting]) -> YardmasterError | None:
        try:
            with self._transaction() as session:
                new = inbox.receive_all(session, [one.delivery for one in batch])
        except (IntegrityError, DataError) as error:
            return Invalid(f"The database cannot take this delivery: {type(error).__name__}.")
        except (YardmasterError, SQLAlchemyError, OSError) as error:
            log.error("deliveries not stored", count=len(batch), error=str(error))
            return Unavailable("The delivery could not be stored now; send it again in a moment.")
        if new < len(batch):
            log.info("duplicate deliveries collapsed", count=len(batch) - new)
        return None


def _answer(batch: Sequence[_Waiting], error: YardmasterError | None) -> None:
    for one in batch:
        try:
            one.loop.call_soon_threadsafe(_resolve, one.answer, error)
        except RuntimeError:
            log.warning("nobody waits for this answer any more", key=one.delivery.key)


def _resolve(answer: "asyncio.Future[None]", error: YardmasterError | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
