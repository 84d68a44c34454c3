"""A turnstile: one thread passes at a time, and of those who wait the urgent go first."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, get_ident


@dataclass(frozen=True)
class _Waiting:
    thread: int = field(default_factory=get_ident)
    gate: Lock = field(default_factory=Lock)


class Turnstile:
    """Threads of one process pass one by one, in the order in which they came; a thread that is within may enter again."""

    def __init__(self) -> None:
        """Nobody is within."""
        self._lock = Lock()
        self._within: int | None = None
        self._depth = 0
        self._urgent: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()

    @property
    def waiting(self) -> int:
        """How many wait to pass."""
        return len(self._urgent) + len(self._others)

    @contextmanager
    def passing(self, *, urgent: bool = False) -> Iterator[None]:
        """Be the only one within the block; the `urgent` go before all others who wait."""
        self._enter(self._urgent if urgent else self._others)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, queue: deque[_Waiting]) -> None:
        with self._lock:
            if self._within in {None, get_ident()}:
                self._within = get_ident()
                self._depth += 1
                return
            mine = _Waiting()
            mine.gate.acquire()
            queue.append(mine)
        mine.gate.acquire()  # whoever leaves opens it, and has put this thread in its place before

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            queue = self._urgent or self._others
            following = queue.popleft() if queue else None
            self._within = following.thread if following else None
            self._depth = 1 if following else 0
        if following:
            following.gate.release()
