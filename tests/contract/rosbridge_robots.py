"""A rosbridge with two robots behind it, which behaves as captured of rosbridge 2.1: with its defects.

A connection works on one goal at a time and hears nothing else meanwhile; a rejected goal is never answered and blocks its
connection; a goal is cancelled by its name from another connection; goals' ids are the robot's own. With `tells` it answers
rejected goals, as later ones do. Run as: python rosbridge_robots.py ws://127.0.0.1:PORT [tells]
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
import uuid

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

NAVIGATE = "nav2_msgs/action/NavigateToPose"
ROBOTS = ("/robot_01", "/robot_02")
EXECUTING, CANCELING, SUCCEEDED, CANCELED = 2, 3, 4, 5


class Bridge:
    def __init__(self, *, tells_rejected=False):
        self.tells_rejected = tells_rejected
        self.executed = {robot: [] for robot in ROBOTS}
        self.works = set()
        self.unmuted = asyncio.Event()
        self.unmuted.set()
        self.is_quiet = False
        self.goals = {robot: {} for robot in ROBOTS}  # robot's id -> status
        self.named = {}  # the bridge's name -> stop event
        self.subscriptions = []  # (socket, topic)

    async def obey(self, command):
        match command["do"]:
            case "mute":
                (self.unmuted.clear if command["on"] else self.unmuted.set)()
            case "quiet":
                self.is_quiet = command["on"]
            case "reset":
                self.is_quiet = False
                self.unmuted.set()
                self.executed = {robot: [] for robot in ROBOTS}
                for stop, _ in self.named.values():
                    stop.set()
            case "nonsense":
                await self._nonsense()
        return {"executed": self.executed}

    async def _nonsense(self):
        for socket, topic in list(self.subscriptions):
            for text in ("{", "[]", '{"op": 3}', json.dumps({"op": "publish", "topic": topic, "msg": "words"})):
                await self._send(socket, text)
            bad = {"status_list": [{"status": "x"}, 7]} if topic.endswith("/status") else {"percentage": "x", "pose": 3}
            await self._send(socket, {"op": "publish", "topic": topic, "msg": bad})

    # Frames

    async def _send(self, socket, frame):
        await self.unmuted.wait()
        with contextlib.suppress(ConnectionClosed):
            await socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def serve(self, socket):
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                await self._hear(socket, json.loads(text))

    async def _hear(self, socket, frame):
        match frame["op"]:
            case "subscribe":
                self.subscriptions.append((socket, frame["topic"]))
                await self._tell_statuses(frame["topic"].partition("/navigate_to_pose")[0], only=socket)
            case "unsubscribe":
                self.subscriptions = [one for one in self.subscriptions if one != (socket, frame["topic"])]
            case "call_service":
                await self._call(socket, frame)
            case "send_action_goal":
                await self._goal(socket, frame)
            case "cancel_action_goal":
                self._cancel(frame["id"])

    async def _call(self, socket, frame):
        values = self._answer(frame["service"], frame.get("args", {}))
        known = values is not None
        said = values if known else f"Service {frame['service']} does not exist"
        response = {"op": "service_response", "service": frame["service"], "values": said, "result": known}
        await self._send(socket, response | {"id": frame["id"]})

    def _answer(self, service, args):
        match service:
            case "/rosapi/topics":
                topics = [f"{robot}/{topic}" for robot in ROBOTS for topic in ("battery_state", "odom")]
                types = ["sensor_msgs/msg/BatteryState", "nav_msgs/msg/Odometry"] * 2
                return {"topics": topics, "types": types}
            case "/rosapi/action_servers":
                return {"action_servers": [f"{robot}/navigate_to_pose" for robot in ROBOTS]}
            case "/rosapi/services":
                return {"services": []}
        robot, _, inner = service.partition("/navigate_to_pose/_action/")
        if inner == "cancel_goal":
            goal = str(uuid.UUID(bytes=bytes(args["goal_info"]["goal_id"]["uuid"])))
            status = self.goals[robot].get(goal)
            for name, (_, known) in self.named.items():
                if known == goal:
                    self._cancel(name)
            return {"return_code": 2 if status is None else 3 if status > CANCELING else 0, "goals_canceling": []}
        return None

    # Goals

    def _cancel(self, name):
        if name in self.named:
            stop, goal = self.named[name]
            robot = next(robot for robot in ROBOTS if goal in self.goals[robot])
            self.goals[robot][goal] = CANCELING
            asyncio.get_running_loop().call_later(0.05, stop.set)

    async def _goal(self, socket, frame):
        robot = frame["action"].partition("/navigate_to_pose")[0]
        x = frame["args"]["pose"]["pose"]["position"]["x"]
        result = {"op": "action_result", "action": frame["action"], "id": frame["id"]}
        if x > 100:
            if self.tells_rejected:
                await self._send(socket, result | {"values": "Action goal was rejected", "status": 0, "result": False})
                return
            await asyncio.Future()  # blocked for good
        self.executed[robot].append(frame["id"])
        goal = str(uuid.UUID(bytes=os.urandom(16)))
        self.goals[robot][goal] = EXECUTING
        stop = asyncio.Event()
        self.named[frame["id"]] = (stop, goal)
        work = asyncio.create_task(self._drive(socket, robot, goal, stop, x))  # goes on when the connection is lost
        while not work.done():
            await self._send(
                socket, {"op": "action_feedback", "action": frame["action"], "values": {}, "id": frame["id"]}
            )
            await asyncio.wait({work}, timeout=0.1)
        self.named.pop(frame["id"], None)
        await self._send(socket, result | {"values": {"error_code": 0}, "status": work.result(), "result": True})

    async def _drive(self, socket, robot, goal, stop, x):
        await self._tell_statuses(robot)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.3 if x < 50 else None)
        self.goals[robot][goal] = CANCELED if stop.is_set() else SUCCEEDED
        telling = asyncio.create_task(self._tell_statuses(robot))
        self.works.add(telling)
        telling.add_done_callback(self.works.discard)
        return self.goals[robot][goal]

    async def _tell_statuses(self, robot, only=None):
        topic = f"{robot}/navigate_to_pose/_action/status"
        listed = [
            {
                "goal_info": {
                    "goal_id": {"uuid": base64.b64encode(uuid.UUID(goal).bytes).decode()},
                    "stamp": {"sec": 1, "nanosec": 0},
                },
                "status": status,
            }
            for goal, status in self.goals.get(robot, {}).items()
        ]
        if robot in ROBOTS and (listed or only is None):
            for socket, subscribed in list(self.subscriptions):
                if subscribed == topic and only in (None, socket):
                    await self._send(socket, {"op": "publish", "topic": topic, "msg": {"status_list": listed}})

    async def publish(self):
        while True:
            await asyncio.sleep(0.2)
            if self.is_quiet or not self.unmuted.is_set():
                continue
            for socket, topic in list(self.subscriptions):
                if topic.endswith("/battery_state"):
                    message = {"percentage": 0.6, "power_supply_status": 2}
                elif topic.endswith("/odom"):
                    pose = {"position": {"x": 1.0, "y": 2.0, "z": 0.0}, "orientation": {"x": 0, "y": 0, "z": 0, "w": 1}}
                    message = {"header": {"frame_id": "map"}, "pose": {"pose": pose}}
                else:
                    continue
                await self._send(socket, {"op": "publish", "topic": topic, "msg": message})


async def main(url, tells_rejected):
    bridge = Bridge(tells_rejected=tells_rejected)
    async with serve(bridge.serve, "127.0.0.1", int(url.rpartition(":")[2]), close_timeout=0.2):
        publishing = asyncio.create_task(bridge.publish())
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await reader.readline():
            sys.stdout.write(json.dumps(await bridge.obey(json.loads(line))) + "\n")
            sys.stdout.flush()
        publishing.cancel()
        os._exit(0)  # blocked connections would hold it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "tells" in sys.argv))
