"""The page of a flow run that watches missions: its state's name, a bar, a text. Prefect away, it is shown later."""

import time
from typing import Any
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.states import Running

from fleet.http_errors import HTTP_ERRORS
from orchestration.pictures import Picture

log = structlog.get_logger(__name__)
EVERY_S = 3.0


class RunPage:
    """One run's page. Shown often, it is written only where it changed, and its text at most every EVERY_S seconds.

    A run that is carried out a second time finds what the first one hung up, so nothing piles up.
    """

    def __init__(self, run_id: UUID, key: str) -> None:
        """The page of run `run_id`; `key` names its text, and `<key>-progress` its bar."""
        self._run_id, self._key = run_id, key
        self._hung: dict[str, UUID] | None = None
        self._written: dict[str, object] = {}
        self._written_at = 0.0
        self._is_away = False

    async def show(self, picture: Picture) -> None:
        """Show `picture`; what cannot be written now is written by a later call."""
        percent = round(100.0 * picture.done / picture.of, 1) if picture.of else 100.0
        wanted: dict[str, object] = {"state": picture.state, "text": picture.text, "bar": percent}
        is_due = picture.state != self._written.get("state") or time.monotonic() - self._written_at >= EVERY_S
        if wanted == self._written or not is_due:
            return
        self._written_at = time.monotonic()
        try:
            async with get_client() as client:
                await self._write(client, picture, wanted)
        except HTTP_ERRORS as error:
            self._note_away(type(error).__name__)
        else:
            self._is_away = False

    async def _write(self, client: PrefectClient, picture: Picture, wanted: dict[str, object]) -> None:
        for part, (key, type_) in {
            "text": (self._key, "markdown"),
            "bar": (f"{self._key}-progress", "progress"),
        }.items():
            if wanted[part] != self._written.get(part):
                await self._hang_up(client, key, type_, wanted[part])
                self._written[part] = wanted[part]
        if wanted["state"] != self._written.get("state") and await self._name(client, picture):
            self._written["state"] = wanted["state"]

    async def _hang_up(self, client: PrefectClient, key: str, type_: str, data: object) -> None:
        if self._hung is None:
            mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self._run_id]))
            found = await client.read_artifacts(artifact_filter=mine)
            self._hung = {artifact.key: artifact.id for artifact in found if artifact.key}
        # Not by the client's own methods: they tell an event of each, and the feed is for what happens to missions.
        if key in self._hung:
            await client.request("PATCH", "/artifacts/{id}", path_params={"id": self._hung[key]}, json={"data": data})
        else:
            form = {"key": key, "type": type_, "data": data, "flow_run_id": str(self._run_id)}
            self._hung[key] = UUID((await client.request("POST", "/artifacts/", json=form)).json()["id"])

    async def _name(self, client: PrefectClient, picture: Picture) -> bool:
        """Name the state of a run that goes on; one that an operator paused or cancels keeps the state he gave it."""
        state = (await client.read_flow_run(self._run_id)).state
        if state is None or not state.is_running():
            return False
        if state.name == picture.state:
            return True
        await client.set_flow_run_state(self._run_id, Running(name=picture.state, message=picture.message))
        return not await self._gave_back_a_pause(client, state)

    async def _gave_back_a_pause(self, client: PrefectClient, read: State[Any]) -> bool:
        """Whether an operator paused the run just before we named it, so that his pause was put back.

        Prefect lets a run that is paused go on when it is named, and has no way to name it only if it is not paused.
        """
        states = await client.read_flow_run_states(self._run_id)
        pauses = [state for state in states if state.is_paused() and state.timestamp > read.timestamp]
        if pauses:
            await client.set_flow_run_state(self._run_id, pauses[-1].fresh_copy(), force=True)
        return bool(pauses)

    def _note_away(self, error: str) -> None:
        if not self._is_away:
            log.warning("the run's page is shown later: Prefect does not answer", run=str(self._run_id), error=error)
        self._is_away = True
