"""The demo's surroundings: the running platform, its database, and waiting for things to come true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlmodel import Session

from deployments.local import Platform
from deployments.prefect_server import ENDED, PrefectServer
from fleet.errors import Rejected, Unavailable
from fleet.runtime import Runtime
from fleet.transport import Answer, Transport

LOOK_S = 0.5
SOON_S = 180.0  # bound of what takes a second or two on an idle machine
Found = TypeVar("Found")


@dataclass(frozen=True)
class Outcome:
    """What a stage came to: `problems` are the checks that did not hold."""

    how_many: str
    where: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Night:
    """What a stage works with; `tell` says how far it is."""

    platform: Platform
    runtime: Runtime
    prefect: PrefectServer
    api: Transport
    tell: Callable[[str], None]

    @property
    def organisation_id(self) -> UUID:
        """The organisation whose night it is."""
        return self.platform.access.organisation_id

    @property
    def var(self) -> Path:
        """Where everything is written."""
        return self.platform.var

    async def read(self, question: Callable[[Session], Found]) -> Found:
        """What the database answers now, off the event loop."""
        return await asyncio.to_thread(self._read, question)

    def _read(self, question: Callable[[Session], Found]) -> Found:
        with self.runtime.reading() as session:
            return question(session)

    async def until(
        self, look: Callable[[], Awaitable[Found]], holds: Callable[[Found], bool], *, within_s: float, what: str
    ) -> Found:
        """The first answer of `look` for which `holds` is true.

        Raises:
            Unavailable: it did not come true in time, or a process of the platform died meanwhile.
        """
        deadline = time.monotonic() + within_s
        while not holds(found := await look()):
            self.platform.supervisor.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{what} within {within_s:.0f} s did not happen; last seen: {str(found)[:300]}")
            await asyncio.sleep(LOOK_S)
        return found

    async def run(self, deployment: str, parameters: dict[str, object], *, within_s: float) -> dict[str, Any]:
        """Press a deployment's button and wait for the run's end.

        Raises:
            Rejected: it did not end well; carries its last words.
            Unavailable: it did not end in time.
        """
        run_id = await self.prefect.press(deployment, parameters, key=f"demo/{deployment}/{time.monotonic_ns()}")
        return await self.ended(run_id, deployment, within_s=within_s)

    async def ended(self, run_id: str, deployment: str, *, within_s: float) -> dict[str, Any]:
        """The run once it has ended, and ended well (raises as `run`)."""
        found = await self.until(
            lambda: self.prefect.run(run_id),
            lambda run: run["state_type"] in ENDED,
            within_s=within_s,
            what=f"The end of the run of {deployment}",
        )
        if found["state_type"] != "COMPLETED":
            said = (found["state"] or {}).get("message") or ""  # its log may come later than its end
            words = "; ".join([*(await self.prefect.logs(run_id))[-3:], said])
            raise Rejected(f"The run of {deployment} ended {found['state_name']}: {words}", run=run_id)
        return found

    def page_of(self, run_id: str) -> str:
        """Where the operator sees a run, in the Prefect pages."""
        return f"Prefect: /runs/flow-run/{run_id}"

    async def ask(
        self, method: str, path: str, *, token: str, content: object = None, body: bytes | None = None
    ) -> Answer:
        """One call of our own API with somebody's token."""
        headers = {"Authorization": f"Bearer {token}"}
        return await self.api.call(method, path, content=content, body=body, headers=headers)


def problems_of(checks: dict[str, bool]) -> tuple[str, ...]:
    """The sentences that are not true."""
    return tuple(sentence for sentence, holds in checks.items() if not holds)
