"""Group commit: many pieces of work share one commit, and each is answered only after it.

A queue, one writer thread, no timer: while one batch is committed the next gathers by itself, so a lone piece of work
waits for nothing and a crowd costs few commits.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlmodel import Session

from fleet.errors import Conflict, Invalid, NotFound, Unavailable, YardmasterError

log = structlog.get_logger(__name__)

BATCH_MAX = 512
BATCH_MAX_BYTES = 16_000_000
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 64_000_000
STOP_S = 4.0
Job = TypeVar("Job")
Answer = TypeVar("Answer")
Transaction = Callable[[], AbstractContextManager[Session]]
Write = Callable[[Session, Sequence[Job]], Sequence[Answer | YardmasterError]]

# What one piece of work may have done to its batch.
_OF_ONE = (IntegrityError, DataError, Conflict, Invalid, NotFound)


@dataclass(frozen=True)
class _Waiting(Generic[Job, Answer]):
    job: Job
    answer: "asyncio.Future[Answer]"
    loop: asyncio.AbstractEventLoop
    size: int


class GroupCommit(Generic[Job, Answer]):
    """Writes what is handed to it; made and used on one event loop, written by one thread."""

    def __init__(
        self,
        transaction: Transaction,
        write: Write[Job, Answer],
        *,
        what: str,
        size_of: Callable[[Job], int] = lambda job: 0,
    ) -> None:
        """`transaction` opens a write transaction that is committed when its block ends.

        `write` writes a batch in it and gives the answer to each, or the error that is its answer. When it raises, the
        batch is rolled back and tried one by one, so it may be called again. `what` names a piece of work for people.
        """
        self._transaction, self._write_batch = transaction, write
        self._what, self._size_of = what, size_of
        self._queue: SimpleQueue[_Waiting[Job, Answer] | None] = SimpleQueue()
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

    async def write(self, job: Job) -> Answer:
        """The answer to `job`, once it is committed.

        Raises:
            Unavailable: too many wait already, or the database did not take it; nothing of it is written.
            Invalid: the database can never take it.
            YardmasterError: what `write` answered for it.
        """
        is_full = self._waiting >= WAITING_MAX or self._waiting_bytes >= WAITING_MAX_BYTES
        if is_full or not self.is_alive:
            raise Unavailable(f"More of this kind waits than can be stored now ({self._what}); try again in a moment.")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Job, Answer] = _Waiting(job, loop.create_future(), loop, self._size_of(job))
        self._waiting += 1
        self._waiting_bytes += waiting.size
        self._queue.put(waiting)
        try:
            return await waiting.answer
        finally:
            self._waiting -= 1
            self._waiting_bytes -= waiting.size

    def _write(self) -> None:
        while batch := self._gather():
            self._store(batch)

    def _store(self, batch: Sequence[_Waiting[Job, Answer]]) -> None:
        try:
            outcomes: Sequence[Answer | YardmasterError] = self._commit(batch)
        except _OF_ONE as error:
            outcomes = [self._sorted(error)] * len(batch)
        except Exception:
            # One piece of work that nobody foresaw must not leave the others waiting, nor end this thread.
            log.exception("not stored", what=self._what, count=len(batch))
            outcomes = [self._later()] * len(batch)
        else:
            return _answer(batch, outcomes)
        if len(batch) == 1:
            return _answer(batch, outcomes)
        for one in batch:
            self._store([one])
        return None

    def _sorted(self, error: Exception) -> YardmasterError:
        if isinstance(error, YardmasterError):
            return error
        return Invalid(f"The database cannot take this ({self._what}): {type(error).__name__}.")

    def _later(self) -> Unavailable:
        return Unavailable(f"It could not be stored now ({self._what}); try again in a moment.")

    def _gather(self) -> list[_Waiting[Job, Answer]]:
        """The next batch, at least one; empty when it is time to stop."""
        first = self._queue.get()
        if first is None:
            return []
        batch, size = [first], first.size
        while len(batch) < BATCH_MAX and size < BATCH_MAX_BYTES:
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
            size += following.size
        return batch

    def _commit(self, batch: Sequence[_Waiting[Job, Answer]]) -> Sequence[Answer | YardmasterError]:
        try:
            with self._transaction() as session:
                return self._write_batch(session, [one.job for one in batch])
        except _OF_ONE:
            raise
        except (YardmasterError, SQLAlchemyError, OSError) as error:  # the trouble of the database, not of one of them
            log.error("not stored", what=self._what, count=len(batch), error=str(error))
            return [self._later()] * len(batch)


def _answer(batch: Sequence[_Waiting[Job, Answer]], outcomes: Sequence[Answer | YardmasterError]) -> None:
    for one, outcome in zip(batch, outcomes, strict=True):
        try:
            one.loop.call_soon_threadsafe(_resolve, one.answer, outcome)
        except RuntimeError:
            log.warning("nobody waits for this answer any more")


def _resolve(answer: "asyncio.Future[Answer]", outcome: Answer | YardmasterError) -> None:
    if answer.done():
        return
    if isinstance(outcome, YardmasterError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
