"""What the launcher asks of Prefect's REST interface, against a small server that answers as Prefect does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployments.prefect_server import PrefectServer, is_worker_online
from fleet.errors import NotFound, Rejected
from fleet.transport import open_transport


class Scripted(BaseHTTPRequestHandler):
    """Answers from a script of path -> list of (status, content); the last of a list is repeated."""

    script: dict[str, list[tuple[int, object]]]
    heard: list[tuple[str, dict]]

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        self.heard.append((self.path, body))
        answers = self.script.get(self.path, [(404, {"detail": "Not Found"})])
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        said = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_GET(self):
        self.do_POST()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def script() -> dict[str, list[tuple[int, object]]]:
    return {}


@pytest.fixture
def heard() -> list[tuple[str, dict]]:
    return []


@pytest.fixture
def url(script, heard) -> Iterator[str]:
    """A server that answers by the script."""
    handler = type("Handler", (Scripted,), {"script": script, "heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
async def server(url):
    async with open_transport(url, connections=2) as transport:
        yield PrefectServer(transport)


DEPLOYMENTS = "/api/deployments/filter"
WORKERS = "/api/work_pools/yardmaster/workers/filter"


async def test_pressing_a_button_asks_for_one_run_under_its_key(server, script, heard):
    script[DEPLOYMENTS] = [(200, [{"id": "d-1", "name": "request-round"}])]
    script["/api/deployments/d-1/create_flow_run"] = [(201, {"id": "run-1"})]
    assert await server.press("request-round", {"name": "Night"}, key="once") == "run-1"
    assert heard[-1][1]["parameters"] == {"name": "Night"}
    assert heard[-1][1]["idempotency_key"] == "once"


async def test_a_deployment_that_is_not_there_is_named_with_what_makes_it(server, script):
    script[DEPLOYMENTS] = [(200, [])]
    with pytest.raises(NotFound, match=r"no deployment 'fly'.*orchestration\.deploy"):
        await server.press("fly", {}, key="once")


async def test_parameters_that_the_server_refuses_are_told_in_its_words(server, script):
    script[DEPLOYMENTS] = [(200, [{"id": "d-1"}])]
    script["/api/deployments/d-1/create_flow_run"] = [(409, {"detail": "missions: must not be null"})]
    with pytest.raises(Rejected, match=r"409.*missions: must not be null"):
        await server.press("request-round", {}, key="once")


async def test_a_server_that_stalls_once_is_asked_again(server, script, monkeypatch):
    monkeypatch.setattr("deployments.prefect_server.PAUSE_S", 0.0)
    script["/api/flow_runs/run-1"] = [(503, {}), (200, {"state_type": "COMPLETED"})]
    assert (await server.run("run-1"))["state_type"] == "COMPLETED"


async def test_logs_come_oldest_first(server, script):
    script["/api/logs/filter"] = [(200, [{"message": "second"}, {"message": "first"}])]
    assert await server.logs("run-1") == ["first", "second"]


def test_a_worker_counts_as_online_only_when_the_server_says_so(url, script):
    script[WORKERS] = [(200, [{"status": "OFFLINE"}]), (200, [{"status": "ONLINE"}])]
    assert not is_worker_online(url)
    assert is_worker_online(url)


def test_without_a_pool_no_worker_is_online(url):
    assert not is_worker_online(url)
