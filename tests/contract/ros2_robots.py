"""Two ROS 2 robots as a process of their own, for the contract suite: commanded by lines of JSON, `executed` tells what they began.

Run as: python ros2_robots.py dds://... A goal to x=1 ends soon, to x=50 when it is cancelled, to x=999 is declined.
"""

import asyncio
import json
import sys
from contextlib import suppress

from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.peer import open_peer

NAVIGATE = "nav2_msgs/action/NavigateToPose"
NAMES = ("robot_01", "robot_02")
SOON_S = 0.3


class Robots:
    def __init__(self, peer):
        self.unmuted = asyncio.Event()
        self.unmuted.set()
        self.executed = {f"/{name}": [] for name in NAMES}
        self.running = {}
        self.works = set()
        self.is_odd = self.is_quiet = False
        self.servers = {}
        for name in NAMES:
            self.servers[f"/{name}"] = peer.action_server(
                f"/{name}/bt_navigator",
                f"/{name}/navigate_to_pose",
                NAVIGATE,
                lambda goal, fields, name=name: self.on_goal(f"/{name}", goal, fields),
                lambda goal: self.on_cancel(goal),
            )
        self.battery = {
            n: peer.publisher(f"/{n}/base", f"/{n}/battery_state", "sensor_msgs/msg/BatteryState") for n in NAMES
        }
        self.odom = {n: peer.publisher(f"/{n}/base", f"/{n}/odom", "nav_msgs/msg/Odometry") for n in NAMES}

    async def on_goal(self, robot, goal, fields):
        x = fields["pose"]["pose"]["position"]["x"]
        if x > 100:
            return False
        self.executed[robot].append(str(goal))
        work = asyncio.create_task(self.drive(robot, goal, x))
        self.works.add(work)
        work.add_done_callback(self.works.discard)
        await self.unmuted.wait()
        return True

    async def drive(self, robot, goal, x):
        await self.unmuted.wait()
        await asyncio.sleep(0.02)
        server = self.servers[robot]
        server.executing(goal)
        stop = self.running[goal] = asyncio.Event()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SOON_S if x < 50 else None)
        del self.running[goal]
        server.finish(goal, GoalStatus.canceled if stop.is_set() else GoalStatus.succeeded, {})

    async def on_cancel(self, goal):
        await self.unmuted.wait()
        if goal in self.running:
            asyncio.get_running_loop().call_later(0.05, self.running[goal].set)
            return True
        return False

    async def publish(self):
        while True:
            await asyncio.sleep(0.2)
            for number, name in enumerate(() if self.is_quiet else NAMES, 1):
                nan = float("nan")
                self.battery[name].publish(
                    {"percentage": nan if self.is_odd else 0.5 + number / 10, "power_supply_status": 2}
                )
                x = nan if self.is_odd else float(number)
                pose = {
                    "position": {"x": x, "y": 2.0, "z": 0.0},
                    "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
                }
                self.odom[name].publish({"header": {"frame_id": "map"}, "pose": {"pose": pose}})

    def obey(self, command):
        match command["do"]:
            case "mute":
                (self.unmuted.clear if command["on"] else self.unmuted.set)()
            case "quiet":
                self.is_quiet = command["on"]
            case "nonsense":
                self.is_odd = True
            case "reset":
                self.is_odd = self.is_quiet = False
                self.unmuted.set()
                self.executed = {robot: [] for robot in self.executed}
                for stop in self.running.values():
                    stop.set()
        return {"executed": self.executed}


async def main(url):
    async with open_peer(url, node="/site") as peer:
        robots = Robots(peer)
        publishing = asyncio.create_task(robots.publish())
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await reader.readline():
            sys.stdout.write(json.dumps(robots.obey(json.loads(line))) + "\n")
            sys.stdout.flush()
        publishing.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
