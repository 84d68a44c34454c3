"""A rosbridge that is away, comes back, is not trusted or talks too much, and goals whose id cannot be told for certain."""

import asyncio
import base64
import contextlib
import ipaddress
import json
import ssl
import uuid
from datetime import datetime

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from fleet.adapters.ros2 import rosbridge_line
from fleet.adapters.ros2.link import Canceling, Declined, Ended, GoalStatus, NoAnswer, Refusal, Taken
from fleet.adapters.ros2.options import options_of
from fleet.adapters.ros2.rosbridge import open_rosbridge
from fleet.adapters.ros2.rosbridge_graph import ask_graph
from fleet.errors import Invalid
from fleet.push import PushAccount

ACTION, TYPE = "/r/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
GOAL = uuid.UUID("6f0a4c1e-5d0b-5a55-9d1c-0b8a5e0f7a21")


class Bridge:
    """Answers as `replies` says: what is sent for a frame of an operation; keeps what it heard."""

    def __init__(self):
        self.heard, self.sockets, self.replies, self.headers = [], [], {}, []
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self, tls=None):
        async with serve(self._serve, "127.0.0.1", self.port, ssl=tls, close_timeout=0.1) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    async def _serve(self, socket):
        self.sockets.append(socket)
        self.headers.append(dict(socket.request.headers))
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                frame = json.loads(text)
                self.heard.append(frame)
                for reply in self._answers(frame):
                    await socket.send(json.dumps(reply | {"id": frame.get("id")}))

    def _answers(self, frame):
        if frame["op"] == "call_service" and frame["service"].startswith("/rosapi/"):
            known = {"/rosapi/action_servers": {"action_servers": [ACTION]}, "/rosapi/action_type": {"type": TYPE}}
            values = known.get(frame["service"], {"topics": [], "types": [], "services": ["/r/trigger"]})
            return [{"op": "service_response", "values": values, "result": True}]
        return self.replies.get(frame["op"], [])

    async def say(self, topic, message):
        for socket in self.sockets:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(json.dumps({"op": "publish", "topic": topic, "msg": message}))

    async def list(self, *goals):
        entries = [
            {"goal_info": {"goal_id": {"uuid": base64.b64encode(goal.bytes).decode()}}, "status": status}
            for goal, status in goals
        ]
        message = {"op": "publish", "topic": f"{ACTION}/_action/status", "msg": {"status_list": entries}}
        for socket in self.sockets:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(json.dumps(message))

    def ops(self):
        return [frame["op"] for frame in self.heard]


@pytest.fixture
async def bridge():
    async with Bridge().running() as found:
        yield found


@pytest.fixture
async def link(bridge):
    account = PushAccount(name="bridge", url=f"ws://127.0.0.1:{bridge.port}", credential="secret")
    async with open_rosbridge(account, options_of({"answer_s": 0.3})) as found:
        await _eventually(lambda: bool(found.endpoints()))
        yield found


async def _eventually(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  what it waits for comes over a socket
            await asyncio.sleep(0.01)


async def test_what_the_graph_shows_is_seen_and_the_credential_is_shown_to_a_proxy(bridge, link):
    assert [(one.name, one.kind, one.type) for one in link.endpoints()] == [
        (ACTION, "action", TYPE),
        ("/r/trigger", "service", ""),
    ]
    assert bridge.headers[0]["authorization"] == "Bearer secret"


async def test_a_goal_that_begins_is_taken_and_known_by_the_one_new_id(bridge, link):
    link.statuses(ACTION)
    await _eventually(lambda: "subscribe" in bridge.ops())
    await bridge.list((uuid.UUID(int=7), 4))
    await _eventually(lambda: link.statuses(ACTION).is_heard)
    bridge.replies["send_action_goal"] = [{"op": "action_feedback", "values": {}}]
    assert isinstance(await link.send_goal(ACTION, TYPE, GOAL, {}), Taken)
    assert link.known_as(GOAL) == ""
    await bridge.list((uuid.UUID(int=7), 4), (uuid.UUID(int=8), 2))
    await _eventually(lambda: link.known_as(GOAL) == str(uuid.UUID(int=8)))


async def test_two_goals_that_began_at_once_are_not_told_apart(bridge, link):
    link.statuses(ACTION)
    await _eventually(lambda: "subscribe" in bridge.ops())
    bridge.replies["send_action_goal"] = [{"op": "action_feedback", "values": {}}]
    await link.send_goal(ACTION, TYPE, GOAL, {})
    await bridge.list((uuid.UUID(int=8), 2), (uuid.UUID(int=9), 2))
    await _eventually(lambda: link.statuses(ACTION).is_heard)
    assert link.known_as(GOAL) == ""


async def test_a_goal_that_nobody_answers_is_unknown_after_its_time(link):
    assert isinstance(await link.send_goal(ACTION, TYPE, GOAL, {}), NoAnswer)


async def test_a_goal_that_a_later_bridge_tells_as_rejected_is_declined(bridge, link):
    bridge.replies["send_action_goal"] = [
        {"op": "action_result", "result": False, "status": 0, "values": "Action goal was rejected"}
    ]
    assert isinstance(await link.send_goal(ACTION, TYPE, GOAL, {}), Declined)


async def test_a_goal_to_an_action_that_is_not_seen_is_not_sent_since_a_bridge_would_keep_it(bridge, link):
    answer = await link.send_goal("/r/no_such_action", TYPE, GOAL, {})
    assert isinstance(answer, Refusal)
    assert "/r/no_such_action is not seen" in answer.reason
    assert "send_action_goal" not in bridge.ops()


async def test_the_end_of_a_goal_is_known_from_the_list_when_its_connection_is_lost(bridge, link):
    link.statuses(ACTION)
    await _eventually(lambda: "subscribe" in bridge.ops())
    bridge.replies["send_action_goal"] = [{"op": "action_feedback", "values": {}}]
    await link.send_goal(ACTION, TYPE, GOAL, {})
    await bridge.list((uuid.UUID(int=8), 2))
    await _eventually(lambda: link.known_as(GOAL) != "")
    link.rename(GOAL, link.known_as(GOAL))
    await bridge.sockets[-1].close()
    await bridge.list((uuid.UUID(int=8), 6))
    await _eventually(lambda: link.statuses(ACTION).goals[uuid.UUID(int=8)].status is GoalStatus.aborted)
    assert await link.result(ACTION, TYPE, GOAL, timeout_s=5) == Ended(GoalStatus.aborted, {})


async def test_a_cancel_goes_out_on_another_connection_than_the_goals_own(bridge, link):
    bridge.replies["send_action_goal"] = [{"op": "action_feedback", "values": {}}]
    await link.send_goal(ACTION, TYPE, GOAL, {})
    assert isinstance(await link.cancel_goal(ACTION, TYPE, GOAL), Canceling)
    await _eventually(lambda: "cancel_action_goal" in bridge.ops())
    sent, cancelled = (frame for frame in bridge.heard if "action_goal" in frame["op"])
    assert sent["id"] == cancelled["id"] == f"goal:{GOAL}"


async def test_a_service_that_does_not_exist_was_not_called_and_one_that_hangs_is_unknown(bridge, link):
    bridge.replies["call_service"] = [
        {"op": "service_response", "result": False, "values": "Service /x does not exist"}
    ]
    assert isinstance(await link.call("/x", "", {}, timeout_s=2), Refusal)
    bridge.replies["call_service"] = []
    assert isinstance(await link.call("/r/trigger", "", {}, timeout_s=0.2), NoAnswer)


async def test_a_bridge_that_goes_away_is_in_trouble_and_is_found_again_with_its_subscriptions(tmp_path):
    bridge = Bridge()
    heard = []
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(contextlib.AsyncExitStack())
        await first.enter_async_context(bridge.running())
        account = PushAccount(name="bridge", url=f"ws://127.0.0.1:{bridge.port}")
        link = await stack.enter_async_context(open_rosbridge(account, options_of({})))
        link.watch(ACTION, heard.append)
        await _eventually(lambda: not link.trouble() and link.endpoints())
        await first.aclose()
        await _eventually(link.trouble)
        assert link.endpoints() == ()
        assert isinstance(await link.send_goal(ACTION, TYPE, GOAL, {}), Refusal)
        bridge.heard.clear()
        async with bridge.running():
            await _eventually(lambda: not link.trouble() and "subscribe" in bridge.ops())
            await bridge.list((GOAL, 2))
            await _eventually(lambda: heard and heard[-1].is_heard)


async def test_a_connection_that_fails_over_what_nobody_foresaw_is_told_and_made_again_with_its_subscriptions(
    bridge, link
):
    heard = []

    def take(sample):
        heard.append(sample)
        if len(heard) == 1:
            raise KeyError("percentage")

    link.listen("/r/battery_state", "sensor_msgs/msg/BatteryState", take, max_rate_hz=10.0)
    await _eventually(lambda: "subscribe" in bridge.ops())
    bridge.heard.clear()
    with capture_logs() as logs:
        await bridge.say("/r/battery_state", {"percentage": 0.5})
        await _eventually(lambda: link.line.connection == 2 and "subscribe" in bridge.ops())
    assert any(one["event"] == "a rosbridge connection failed; it is made again" for one in logs)
    await bridge.say("/r/battery_state", {"percentage": 0.4})
    await _eventually(lambda: len(heard) == 2)


async def test_a_look_at_the_graph_that_fails_does_not_leave_it_unwatched(bridge, link, monkeypatch):
    looks = []

    async def stumble(socket, options):
        looks.append(socket)
        if len(looks) == 1:
            raise TypeError("what rosapi said")
        return await ask_graph(socket, options)

    monkeypatch.setattr(rosbridge_line, "ask_graph", stumble)
    monkeypatch.setattr(rosbridge_line, "GRAPH_S", 0.05)
    await _eventually(lambda: len(looks) > 1 and link.endpoints())
    assert link.line.connection == 2


async def test_a_line_that_cannot_be_kept_at_all_ends_the_link_with_the_reason(bridge, link, monkeypatch):
    await link.changed()  # what was seen until now
    monkeypatch.setattr(link.line, "_lose", lambda: [].pop())
    for socket in bridge.sockets:
        await socket.close()
    with pytest.raises(IndexError):
        async with asyncio.timeout(20):
            await link.changed()


async def test_whoever_sends_a_goal_does_not_wait_for_a_connection_that_failed(bridge, link, monkeypatch):
    def stumble():
        raise TypeError("no connection")

    monkeypatch.setattr(link.line, "connect", stumble)
    async with asyncio.timeout(20):
        refused = await link.send_goal(ACTION, TYPE, GOAL, {})
    assert isinstance(refused, Refusal)


@pytest.fixture
def certificate(tmp_path):
    """Makes a certificate of 127.0.0.1 that is its own authority, good until `until`; gives its file and a server's TLS."""
    x509 = pytest.importorskip("cryptography.x509", reason="no library makes certificates here")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(until):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bridge")])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2020, 1, 1), until)
        signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
        file = tmp_path / "bridge.pem"
        plain = serialization.NoEncryption()
        pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, private, plain))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
        return str(file), tls

    return made


@pytest.mark.parametrize(("year", "is_trusted", "words"), [(2021, True, "expired"), (2050, False, "self-signed")])
async def test_a_certificate_that_is_not_trusted_is_named_as_the_trouble(certificate, year, is_trusted, words):
    file, tls = certificate(datetime(year, 1, 1))
    async with Bridge().running(tls) as bridge:
        account = PushAccount(name="bridge", url=f"wss://127.0.0.1:{bridge.port}")
        async with open_rosbridge(account, options_of({"ca": file} if is_trusted else {})) as link:
            await _eventually(lambda: "not trusted" in link.trouble())
            assert words in link.trouble()


async def test_a_bridge_with_a_certificate_of_our_own_authority_is_reached(certificate):
    file, tls = certificate(datetime(2050, 1, 1))
    async with Bridge().running(tls) as bridge:
        account = PushAccount(name="bridge", url=f"wss://127.0.0.1:{bridge.port}")
        async with open_rosbridge(account, options_of({"ca": file})) as link:
            await _eventually(lambda: bool(link.endpoints()))
            assert link.trouble() == ""


async def test_a_certificate_authority_that_cannot_be_read_is_told_at_once(tmp_path):
    account = PushAccount(name="bridge", url="wss://127.0.0.1:1")
    with pytest.raises(Invalid, match=r"nowhere\.pem"):
        async with open_rosbridge(account, options_of({"ca": str(tmp_path / "nowhere.pem")})):
            pass
