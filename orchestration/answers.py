"""What robots answer is written in groups: while one commit is under way, the answers that come meanwhile gather."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session

from fleet import ledger
from fleet.group_commit import GroupCommit, Transaction
from missions.live import lock_missions
from missions.outbox import MORE
from orchestration.loops import Pace

GATHER_S = 0.04  # answers that come thick and fast gather for so long


@dataclass(frozen=True)
class _Piece:
    mission_id: UUID
    work: Callable[[Session], None]


class Answers:
    """Writes pieces of work about missions; its thread begins with the first."""

    def __init__(self, transaction: Transaction, let_pass: Callable[[], Awaitable[None]]) -> None:
        """`transaction` opens a write transaction that is committed when its block ends.

        `let_pass` is awaited before, for what is more urgent.
        """
        self._let_pass = let_pass
        self._group: GroupCommit[_Piece, bool] = GroupCommit(transaction, _write, what="answers of robots")
        self._is_started = False
        self._pace = Pace(GATHER_S)

    async def write(self, mission_id: UUID, work: Callable[[Session], None]) -> bool:
        """Commit what `work` writes about the mission; True when its group left something to be sent.

        `work` is called once more when the commit of its group failed.

        Raises:
            YardmasterError: it could not be written; nothing of it was.
        """
        await self._pace.keep()
        await self._let_pass()
        if not self._is_started:
            self._is_started = True
            self._group.start()
        return await self._group.write(_Piece(mission_id, work))

    def stop(self) -> None:
        """Write what waits and end."""
        if self._is_started:
            self._group.stop()


def _write(session: Session, pieces: Sequence[_Piece]) -> list[bool]:
    with ledger.together(session):
        lock_missions(session, {piece.mission_id for piece in pieces})
        for piece in pieces:
            piece.work(session)
    return [MORE in session.info] * len(pieces)
