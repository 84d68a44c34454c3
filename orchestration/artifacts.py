"""What a flow run shows while it works and when it is done: one progress bar."""

import time
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

EVERY_S = 3.0


class Progress:
    """A progress bar of one flow run; told often, it is written at most every EVERY_S seconds and at the end."""

    def __init__(self, artifact_id: UUID) -> None:
        """Use `open`."""
        self._id = artifact_id
        self._shown: tuple[float, str | None] = (0.0, None)
        self._written_at = time.monotonic()

    @classmethod
    async def open(cls, key: str, description: str) -> "Progress":
        """A bar at 0 %; `key` is of lower-case letters, digits and dashes."""
        made = await acreate_progress_artifact(progress=0.0, key=key, description=description)
        assert isinstance(made, UUID)
        return cls(made)

    async def show(self, done: int, of: int, text: str | None = None) -> None:
        """Move the bar to `done` of `of`; `text` is what it says then, None: as before."""
        percent = 100.0 * done / of if of else 100.0
        is_due = time.monotonic() - self._written_at >= EVERY_S or percent >= 100.0
        if (percent, text) != self._shown and is_due:
            await aupdate_progress_artifact(self._id, progress=percent, description=text)
            self._shown, self._written_at = (percent, text), time.monotonic()
