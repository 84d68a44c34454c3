"""What an operator asks live, on the command line, through a gateway that is there."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app


@pytest.fixture
def yardmaster(platform, monkeypatch: pytest.MonkeyPatch):
    """Runs one command for the organisation of the test while the gateway goes on; gives what it printed."""
    # The API of this process would log into the command's output, which is closed with it.
    monkeypatch.setattr("fleet.runtime.configure_logs", lambda **_: None)

    async def run(*arguments: str) -> str:
        given = ["--var", str(platform.runtime.settings.var_dir), *arguments, "--organisation", "acme"]
        done = await asyncio.to_thread(CliRunner().invoke, app, given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


async def test_a_probe_tells_what_the_robot_exposes_and_how_long_the_answer_took(platform, yardmaster, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        told = json.loads(await yardmaster("robots", "probe", "amr-01", "--json"))
        words = await yardmaster("robots", "probe", "amr-01")
    assert (told["gateway"], told["link"], told["refusals"]) == ("north", "dds", [])
    assert 0 < told["round_trip_ms"] < 10_000
    assert "answered through north" in words
    assert "would be taken" in words


async def test_what_gateways_see_is_registered_once(platform, yardmaster, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().hearing is not None)
        (seen,) = json.loads(await yardmaster("robots", "discover", "--json"))
        for _ in range(2):
            (added,) = json.loads(await yardmaster("robots", "discover", "--add", "--site", "north", "--json"))
        listed = json.loads(await yardmaster("robots", "list", "--json"))
    assert (seen["address"], seen["robot"], added["robot"]) == ("stranger", "", "stranger")
    assert [robot["name"] for robot in listed] == ["amr-01", "amr-02", "stranger"]


async def test_a_gateway_that_is_there_is_shown_with_what_it_holds(platform, yardmaster, until):
    async with platform.dialled():
        await until(lambda: platform.link() is not None and platform.link().digest != "")
        shown = json.loads(await yardmaster("gateways", "show", "north", "--json"))
        words = await yardmaster("robots", "show", "amr-01")
    assert (shown["is_there"], shown["robots"]) == (True, 2)
    assert {link["hearing"] for link in shown["links"]} == {"well"}
    assert "//amr-01/go" in words
