"""The page of a run, with Prefect replaced at its socket: little traffic, nothing piled up, nobody's pause undone."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient

from orchestration import run_page
from orchestration.pictures import Picture
from orchestration.run_page import RunPage

FIRST = Picture("Scheduled", "no robot yet", "first", 0, 2)
SECOND = Picture("Running", "amr-01", "second", 1, 2)


@dataclass
class Server:
    """As much of Prefect as a page needs: one run with its states and artifacts."""

    run_id: UUID = field(default_factory=uuid4)
    states: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    pause_before_naming: bool = False
    is_away: bool = False

    def enter(self, type_: str, name: str, **details: object) -> None:
        at = f"2026-03-01T22:00:{len(self.states):02d}Z"
        self.states.append({"id": str(uuid4()), "type": type_, "name": name, "timestamp": at, "state_details": details})

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path.removeprefix("/api")
        told = json.loads(request.content) if request.content else {}
        if path == "/csrf-token":
            return httpx.Response(404, json={"detail": path})
        self.calls.append(f"{request.method} {path.split('/')[1]}")
        if path.startswith("/artifacts"):
            return self._artifacts(request.method, path, told)
        if path.endswith("/set_state"):
            return self._set_state(told)
        if path == "/flow_run_states/":
            return httpx.Response(200, json=self.states)
        run = {"id": str(self.run_id), "flow_id": str(uuid4()), "name": "quick fox", "state": self.states[-1]}
        return httpx.Response(200, json=run)

    def _artifacts(self, method: str, path: str, told: dict[str, Any]) -> httpx.Response:
        if path.endswith("/filter"):
            return httpx.Response(200, json=list(self.artifacts.values()))
        if method == "PATCH":
            next(one for one in self.artifacts.values() if one["id"] in path)["data"] = told["data"]
            return httpx.Response(204)
        made = {"id": str(uuid4()), "key": told["key"], "type": told["type"], "data": told["data"]}
        self.artifacts[told["key"]] = made
        return httpx.Response(201, json=made)

    def _set_state(self, told: dict[str, Any]) -> httpx.Response:
        if self.pause_before_naming and not told["force"]:
            self.enter("PAUSED", "Paused", pause_timeout="2099-01-01T00:00:00Z")
            self.pause_before_naming = False
        self.enter(told["state"]["type"], told["state"]["name"])
        return httpx.Response(201, json={"status": "ACCEPT", "details": {"type": "accept_details"}, "state": None})

    @property
    def shown(self) -> dict[str, Any]:
        return {key: one["data"] for key, one in self.artifacts.items()}


@pytest.fixture
def server() -> Server:
    made = Server()
    made.enter("RUNNING", "Running")
    return made


@pytest.fixture
def show(server: Server, monkeypatch: pytest.MonkeyPatch):
    """Shows pictures one after the other on one page of the run, each when it is due."""
    monkeypatch.setattr(run_page, "EVERY_S", 0.0)
    transport = httpx.MockTransport(server.answer)
    address = "http://127.0.0.1:9/api"
    monkeypatch.setattr(run_page, "get_client", lambda: PrefectClient(address, httpx_settings={"transport": transport}))

    def pictures(*shown: Picture, page: RunPage | None = None) -> RunPage:
        page = page or RunPage(server.run_id, "mission")

        async def all_of_them() -> None:
            for picture in shown:
                await page.show(picture)

        asyncio.run(all_of_them())
        return page

    return pictures


def test_a_page_shows_text_bar_and_the_name_of_the_state(server, show):
    show(FIRST, SECOND)
    assert server.shown == {"mission": "second", "mission-progress": 50.0}
    assert [(state["type"], state["name"]) for state in server.states][1:] == [
        ("RUNNING", "Scheduled"),
        ("RUNNING", "Running"),
    ]


def test_the_same_picture_again_asks_nothing_of_prefect(server, show):
    page = show(FIRST)
    server.calls.clear()
    show(FIRST, FIRST, page=page)
    assert server.calls == []


def test_a_run_carried_out_again_hangs_nothing_up_twice(server, show):
    show(FIRST)
    ids = {key: one["id"] for key, one in server.artifacts.items()}
    show(SECOND)
    assert {key: one["id"] for key, one in server.artifacts.items()} == ids
    assert server.shown["mission"] == "second"


@pytest.mark.parametrize("type_", ["PAUSED", "CANCELLING"])
def test_a_run_that_an_operator_paused_or_cancels_is_not_named(server, show, type_):
    server.enter(type_, type_.capitalize())
    show(FIRST)
    assert server.states[-1]["type"] == type_
    assert server.shown["mission"] == "first"


def test_a_run_that_is_resumed_gets_its_name_then(server, show):
    server.enter("PAUSED", "Paused")
    page = show(FIRST)
    server.enter("RUNNING", "Running")
    show(FIRST, page=page)
    assert server.states[-1]["name"] == "Scheduled"


def test_a_pause_pressed_in_the_instant_of_naming_is_put_back(server, show):
    server.pause_before_naming = True
    show(FIRST)
    assert [state["type"] for state in server.states] == ["RUNNING", "PAUSED", "RUNNING", "PAUSED"]


def test_what_could_not_be_shown_is_shown_when_prefect_is_back(server, show):
    server.is_away = True
    page = show(FIRST)
    assert server.shown == {}
    server.is_away = False
    show(FIRST, page=page)
    assert (server.shown["mission"], server.states[-1]["name"]) == ("first", "Scheduled")
