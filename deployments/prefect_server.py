"""What an operator does in Prefect's pages, over the same REST interface: press a button, look at a run, cancel it."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fleet.errors import NotFound, Rejected, Unavailable
from fleet.transport import Answer, Transport, open_transport

WORK_POOL = "yardmaster"
TRIES = 4
PAUSE_S = 1.0
ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


class PrefectServer:
    """The server's REST interface over an open transport to its address."""

    def __init__(self, transport: Transport) -> None:
        """`transport` leads to the server's root, without /api."""
        self._transport = transport

    async def press(self, deployment: str, parameters: Mapping[str, object], *, key: str) -> str:
        """Ask for a run of a deployment, as its Run button does; gives the run's id. The same `key` is the same run.

        Raises:
            NotFound: no such deployment.
            Rejected: the server does not take the parameters; carries its words.
        """
        found = await self._call("POST", "/api/deployments/filter", {"deployments": {"name": {"any_": [deployment]}}})
        if not found:
            raise NotFound(f"Prefect has no deployment {deployment!r}; `python -m orchestration.deploy` makes them.")
        path = f"/api/deployments/{found[0]['id']}/create_flow_run"
        state = {"type": "SCHEDULED", "message": "Asked for by the demo"}
        body = {"parameters": dict(parameters), "idempotency_key": key, "state": state}
        return str((await self._call("POST", path, body))["id"])

    async def resume(self, run_id: str, answer: Mapping[str, object]) -> None:
        """Answer a run that waits for a person, as the form of Resume on its page does.

        Raises:
            Rejected: the run waits for nothing, or its form does not take the answer; carries the server's words.
        """
        found = await self._call("POST", f"/api/flow_runs/{run_id}/resume", {"run_input": dict(answer)})
        if found.get("status") != "ACCEPT":
            raise Rejected(f"Prefect did not resume the run: {found.get('details')}", run=run_id)

    async def run(self, run_id: str) -> dict[str, Any]:
        """A flow run as the server sees it now."""
        found = await self._call("GET", f"/api/flow_runs/{run_id}")
        assert isinstance(found, dict)
        return found

    async def runs(self, deployment_ids: list[str]) -> list[dict[str, Any]]:
        """The newest runs of these deployments."""
        body = {"deployments": {"id": {"any_": deployment_ids}}, "sort": "START_TIME_DESC", "limit": 50}
        return list(await self._call("POST", "/api/flow_runs/filter", body))

    async def deployments(self) -> dict[str, str]:
        """Every deployment: name -> id."""
        found = await self._call("POST", "/api/deployments/filter", {})
        return {str(row["name"]): str(row["id"]) for row in found}

    async def artifacts(self, run_id: str) -> list[dict[str, Any]]:
        """What a run shows: tables, links, images, progress."""
        body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        return list(await self._call("POST", "/api/artifacts/filter", body))

    async def logs(self, run_id: str) -> list[str]:
        """The newest log lines of a run, oldest first."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_DESC", "limit": 20}
        return [str(row["message"]) for row in reversed(await self._call("POST", "/api/logs/filter", body))]

    async def workers(self) -> list[dict[str, Any]]:
        """The workers that serve our pool."""
        return list(await self._call("POST", f"/api/work_pools/{WORK_POOL}/workers/filter", {}))

    async def _call(self, method: str, path: str, content: object = None) -> Any:
        answer = await self._answer(method, path, content)
        if answer.status == 404:
            raise NotFound(f"The Prefect server knows nothing at {path}.", path=path)
        if answer.status >= 400:
            words = answer.body.decode(errors="replace")[:500]
            raise Rejected(f"The Prefect server refused {method} {path} ({answer.status}): {words}", path=path)
        return json.loads(answer.body)

    async def _answer(self, method: str, path: str, content: object) -> Answer:
        # Each of our calls may be made twice (a run is asked for under a key), and on SQLite the server pauses now and then.
        for _ in range(TRIES - 1):
            with suppress(Unavailable):
                return await self._transport.call(method, path, content=content)
            await asyncio.sleep(PAUSE_S)
        return await self._transport.call(method, path, content=content)


def is_worker_online(url: str) -> bool:
    """Whether a worker of ours polls the server at `url` now."""
    return asyncio.run(_is_worker_online(url))


async def _is_worker_online(url: str) -> bool:
    async with open_transport(url, timeout_s=3.0, connections=1) as transport:
        try:
            return any(worker["status"] == "ONLINE" for worker in await PrefectServer(transport).workers())
        except (NotFound, Unavailable):
            return False
