"""Right of way: while a thread is at what is urgent, the others of its process stop before their next statement.

Each statement of a database server is waited for, and a thread that comes back from one then waits for the others to let it
go on: a dozen statements take three times as long beside threads that compute as they take alone. Whoever stops may keep
its locks meanwhile, so only those who need none of them may go first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

LONGEST_S = 0.05  # nobody stops for longer, whoever goes first
WAY = "right_of_way"  # in the info of a session whose thread stops for others


class RightOfWay:
    """For the threads of one process; several may be urgent at once."""

    def __init__(self) -> None:
        """Nobody is urgent."""
        self._lock = Lock()
        self._urgent = 0
        self._is_free = Event()
        self._is_free.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Go first within the block."""
        with self._lock:
            self._urgent += 1
            self._is_free.clear()
        try:
            yield
        finally:
            with self._lock:
                self._urgent -= 1
                if not self._urgent:
                    self._is_free.set()

    def give(self) -> None:
        """Stop while somebody goes first, for LONGEST_S at most."""
        self._is_free.wait(LONGEST_S)
