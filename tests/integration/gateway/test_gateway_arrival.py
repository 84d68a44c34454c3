"""Who starts a platform on one machine is told when its gateway has come through, or why it has not."""

import asyncio
from pathlib import Path

import pytest

from deployments import arrival
from deployments.arrival import tell_arrival
from deployments.links import GATEWAY
from deployments.supervise import Supervisor
from fleet.organisations import Principal, PrincipalKind, issue_token


@pytest.fixture
def tell(platform, tmp_path: Path):
    """Waits for the gateway as the launcher does; gives what it said."""
    with platform.runtime.transaction() as session:
        reader = Principal(PrincipalKind.user, "operator", platform.world.organisation.id)
        token = issue_token(session, reader, now=platform.runtime.clock.now())
    supervisor, since = Supervisor(tmp_path / "var", say=print), platform.runtime.clock.now()
    supervisor.log_of("gateway").write_text("the platform is away: connection refused\n")

    async def run() -> str:
        said: list[str] = []
        await asyncio.to_thread(tell_arrival, platform.http, token, since, supervisor, said.append)
        return said[-1]

    return run


async def test_a_gateway_that_has_come_through_is_told_with_its_robots(platform, tell):
    async with platform.dialled(token=platform.add_gateway(GATEWAY)):
        assert await tell() == "The gateway is connected and holds 2 robots."


async def test_one_that_has_not_is_told_with_the_end_of_its_log(platform, tell, monkeypatch):
    monkeypatch.setattr(arrival, "WITHIN_S", 0.3)
    async with platform.dialled():  # another one
        words = await tell()
    assert "The gateway is not connected" in words
    assert "connection refused" in words
