"""How fast the ROS 2 link is over real DDS on loopback, against a robot in a second process (`make bench PARTS=ros2`).

`python tests/load/ros2.py robot DOMAIN [TYPE HZ]` is that robot.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from fleet.adapters.ros2.dds import DdsLink, open_dds
from fleet.adapters.ros2.link import GoalStatus, Sample, Taken
from fleet.adapters.ros2.peer import ActionServer, Peer, open_peer
from fleet.adapters.ros2.qos import Profile

NODE, ACTION, SERVICE = "/robot_01/bt_navigator", "/robot_01/navigate_to_pose", "/robot_01/reset"
NAVIGATE, TRIGGER = "nav2_msgs/action/NavigateToPose", "std_srvs/srv/Trigger"
JOINTS = {"name": [f"joint_{number}" for number in range(12)]} | {
    field: [0.5] * 12 for field in ("position", "velocity", "effort")
}
MESSAGES: Mapping[str, Mapping[str, object]] = {
    "nav_msgs/msg/Odometry": {"header": {"frame_id": "odom"}, "child_frame_id": "base_link"},
    "sensor_msgs/msg/JointState": JOINTS,
    "sensor_msgs/msg/BatteryState": {"percentage": 0.5, "cell_voltage": [3.7] * 6},
}
TOPICS, RATE_HZ, LISTENS_S = 40, 50.0, 5.0
GOAL = {"pose": {"header": {"frame_id": "map"}, "pose": {"position": {"x": 3.0, "y": 4.0}}}}
Figure = tuple[str, str, str]


def main() -> None:
    """Be the robot, or print the figures."""
    if sys.argv[1:2] == ["robot"]:
        asyncio.run(robot(int(sys.argv[2]), *sys.argv[3:]))
    else:
        for figure in figures():
            print(" | ".join(figure))  # noqa: T201


def url(domain: int) -> str:
    """Loopback only."""
    return f"dds://?domain={domain}&peers=127.0.0.1"


async def robot(domain: int, type: str = "", hz: str = "0") -> None:
    """One robot that takes every goal and ends it at once; with a type, it publishes TOPICS topics of it. Ends with its input."""
    async with open_peer(url(domain), node=NODE) as peer:
        servers: list[ActionServer] = []

        def on_goal(goal_id: uuid.UUID, _: Mapping[str, object]) -> bool:
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, servers[0].finish, goal_id, GoalStatus.succeeded)
            return True

        servers.append(peer.action_server(NODE, ACTION, NAVIGATE, on_goal, lambda _: True))
        peer.service(NODE, SERVICE, TRIGGER, lambda _: {"success": True})
        publishing = asyncio.create_task(publish(peer, type, float(hz)))
        print("up", flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        publishing.cancel()


async def publish(peer: Peer, type: str, hz: float) -> None:
    """Publish the same message on all topics at this rate."""
    if not type:
        return
    best_effort = Profile(is_reliable=False, depth=5)
    publishers = [peer.publisher(NODE, f"/robot_01/topic_{number}", type, best_effort) for number in range(TOPICS)]
    writers = [publisher._writer for publisher in publishers]
    sample = peer.participant.types.encode(type, MESSAGES[type])
    began = time.monotonic()
    for tick in itertools.count(1):
        for writer in writers:
            writer.write(sample)
        await asyncio.sleep(max(0.0, began + tick / hz - time.monotonic()))


@asynccontextmanager
async def alive(domain: int, *arguments: str) -> AsyncIterator[None]:
    """The robot's process."""
    command = [sys.executable, __file__, "robot", str(domain), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        yield
    finally:
        process.communicate("\n")


def figures() -> Iterator[Figure]:
    """All figures."""
    domain = 100 + os.getpid() % 130
    yield from asyncio.run(answers(domain))
    for type in MESSAGES:
        yield asyncio.run(telemetry(domain, type))


async def answers(domain: int) -> list[Figure]:
    """Discovery, goals, services."""
    async with open_dds(url(domain)) as link:
        spawned = time.perf_counter()
        async with alive(domain):
            up = time.perf_counter()
            while not any(seen.kind == "action" for seen in link.endpoints()):
                await link.changed()
            found = time.perf_counter()
            goals = await timed(lambda: goal(link), 200)
            calls = await timed(lambda: link.call(SERVICE, TRIGGER, {}, timeout_s=5.0), 500)
    return [
        (
            "ROS 2: a new robot is discovered",
            f"{max(found - up, 0):.2f} s after it is up, {found - spawned:.1f} s after its start",
            "< 5 s",
        ),
        ("ROS 2: goal acceptance over DDS", milliseconds(goals), "p50 < 20 ms"),
        ("ROS 2: service round trip over DDS", milliseconds(calls), "p95 < 10 ms"),
    ]


async def goal(link: DdsLink) -> object:
    """One goal."""
    answer = await link.send_goal(ACTION, NAVIGATE, uuid.uuid4(), GOAL)
    assert isinstance(answer, Taken), answer
    return answer


async def timed(ask: Callable[[], object], times: int) -> list[float]:
    """How long each took, the first ones left out."""
    took = []
    for _ in range(times + 5):
        began = time.perf_counter()
        await ask()  # type: ignore[misc]
        took.append(time.perf_counter() - began)
    return took[5:]


def milliseconds(took: list[float]) -> str:
    """Median, 95th percentile and slowest."""
    ninety_five = statistics.quantiles(took, n=20)[-1]
    return f"p50 {statistics.median(took) * 1e3:.1f} ms, p95 {ninety_five * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms (n={len(took)})"


async def telemetry(domain: int, type: str) -> Figure:
    """Messages of a type, taken from DDS, decoded and handed over: what one core could do."""
    async with open_dds(url(domain)) as link, alive(domain, type, str(RATE_HZ)):
        heard: list[Sample] = []
        for number in range(TOPICS):
            link.listen(f"/robot_01/topic_{number}", type, heard.append, max_rate_hz=1000.0)
        await asyncio.sleep(1.0)
        heard.clear()
        began = time.process_time()
        await asyncio.sleep(LISTENS_S)
        used = time.process_time() - began
    name = type.rpartition("/")[2]
    sent = TOPICS * RATE_HZ * LISTENS_S
    measured = f"{len(heard) / used:,.0f}/s per core ({used / len(heard) * 1e6:.0f} us CPU each; {len(heard):,} of {sent:,.0f} sent)"
    return f"ROS 2: {name} decoded", measured, ">= 5,000/s"


if __name__ == "__main__":
    main()
