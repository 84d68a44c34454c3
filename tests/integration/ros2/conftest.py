"""Real DDS on loopback: a domain of the test's own, a link into it, and a robot that does as its goals say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from deployments.links import own_domain
from fleet.adapters.ros2.dds import DdsLink, open_dds
from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.peer import ActionServer, Peer, open_peer

NODE, ACTION, NAVIGATE = "/robot_01/bt_navigator", "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"


@dataclass
class Navigator:
    """A server of NavigateToPose: beyond 100 m it declines; it works until it is told to end, or is cancelled and may be."""

    began: list[UUID] = field(default_factory=list)
    may_cancel: bool = True
    takes: Callable[[UUID, dict[str, Any]], Awaitable[bool]] | None = None
    server: ActionServer | None = None

    async def on_goal(self, goal_id: UUID, goal: dict[str, Any]) -> bool:
        if self.takes is not None:
            return await self.takes(goal_id, goal)
        if abs(goal["pose"]["pose"]["position"]["x"]) > 100:
            return False
        self.began.append(goal_id)
        asyncio.get_running_loop().call_soon(self.served.executing, goal_id)
        return True

    def on_cancel(self, goal_id: UUID) -> bool:
        if self.may_cancel:
            asyncio.get_running_loop().call_later(0.02, self.served.finish, goal_id, GoalStatus.canceled)
        return self.may_cancel

    @property
    def served(self) -> ActionServer:
        assert self.server is not None
        return self.server

    def serve(self, peer: Peer) -> "Navigator":
        self.server = peer.action_server(NODE, ACTION, NAVIGATE, self.on_goal, self.on_cancel)
        return self


@pytest.fixture
def url() -> Iterator[str]:
    """A domain that nothing else on this machine uses at this moment."""
    with own_domain() as domain:
        yield f"dds://?domain={domain}&peers=127.0.0.1"


@pytest.fixture
async def peer(url) -> AsyncIterator[Peer]:
    async with open_peer(url, node=NODE) as peer:
        yield peer


@pytest.fixture
async def navigator(peer) -> Navigator:
    return Navigator().serve(peer)


@pytest.fixture
async def link(url) -> AsyncIterator[DdsLink]:
    async with open_dds(url, answer_s=1.0) as link:
        yield link


@pytest.fixture
def goal() -> dict[str, object]:
    return {"pose": {"header": {"frame_id": "map"}, "pose": {"position": {"x": 3.0, "y": 4.0}}}}


@pytest.fixture
def far_goal() -> dict[str, object]:
    """One that the robot declines."""
    return {"pose": {"pose": {"position": {"x": 999.0}}}}


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for a condition, for ten seconds at most."""

    async def wait(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110  # whatever the condition looks at, it has no event
                await asyncio.sleep(0.01)

    return wait
