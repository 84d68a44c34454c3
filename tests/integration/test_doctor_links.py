"""The doctor says which robots are not reached and why, and does not guess while nothing runs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlmodel import select

from deployments.doctor import Finding, examine
from deployments.links import Links
from deployments.seed import seed
from fleet.adapters.simulated.site_map import robots
from fleet.gateways import Gateway, dial_in, hold
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings


class Well(BaseHTTPRequestHandler):
    """Answers that it is well, whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said: object) -> None:
        """Nothing."""


@pytest.fixture
def api_url() -> Iterator[str]:
    """Where something answers as an API that is well."""
    with HTTPServer(("127.0.0.1", 0), Well) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def planted(runtime: Runtime) -> Runtime:
    """Four robots commanded over ROS 2, by the clock of the wall, which the doctor goes by."""
    opened = open_runtime(runtime.settings)
    with opened.transaction() as session:
        wanted = {"site_url": "http://127.0.0.1:1", "robots": robots(4), "known": None, "links": Links(42)}
        seed(session, now=opened.clock.now(), **wanted)
    return opened


@pytest.fixture
def look(planted: Runtime):
    """What the doctor finds of this name with an API at this address."""

    def at(what: str, api_url: str) -> Finding:
        settings = Settings(var_dir=planted.settings.var_dir, api_url=api_url)
        return next(finding for finding in examine(settings) if finding.what == what)

    yield at
    planted.engine.dispose()


def test_robots_that_no_gateway_has_ever_held_are_named_with_the_reason(look, api_url):
    found = look("Robots", api_url)
    assert found.found == "0 of 4 are reached"
    assert found.advice.startswith("amr-01 is out of reach (no gateway has ever held it); amr-02 is")
    assert found.advice.endswith("(and 1 more)")


def test_robots_that_a_gateway_holds_need_no_care(planted, look, api_url):
    with planted.transaction() as session:
        gateway = session.exec(select(Gateway)).one()
        epoch = dial_in(session, gateway, journal="j", version="1")
        assert len(hold(session, gateway.id, epoch)) == 4
    assert look("Robots", api_url) == Finding("Robots", "4 of 4 are reached")


def test_without_an_api_the_doctor_does_not_guess(look):
    assert look("Robots", "http://127.0.0.1:1") == Finding("Robots", "not looked at, for no API answers")


def test_a_machine_without_a_broker_is_told_what_that_means(look, monkeypatch):
    monkeypatch.setattr("deployments.doctor.broker_command", lambda: None)
    found = look("MQTT broker", "http://127.0.0.1:1")
    assert (found.advice, "no simulated robot speaks VDA 5050" in found.found) == ("", True)
