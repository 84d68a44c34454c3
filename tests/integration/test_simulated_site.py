"""The open site against a receiver at the socket: signed webhooks, uploads in parts, and its own cloud's manners."""

import asyncio
import contextlib
import hashlib
import json
import socket

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fleet.adapter import AdapterAccount, Happening, Observation, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated import translate
from fleet.adapters.simulated.adapter import open_adapter
from fleet.adapters.simulated.cloud import BODY_MAX_BYTES
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.clock import SystemClock
from fleet.errors import Conflict, Rejected
from fleet.transport import open_transport
from ingestion import signatures

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATIENCE_S = 20.0
CREDENTIAL = "cloud-credential"


class Receiver:
    """A platform that keeps what it is sent, and fails as often as it is told."""

    def __init__(self):
        self.deliveries = []
        self.failing = 0
        self.opened = []
        self.parts = {}
        self.complete = []
        self.start_status = 201
        self.unsafe = 0
        self.url = ""

    def app(self):
        return Starlette(
            routes=[
                Route("/hook", self.hook, methods=["POST"]),
                Route("/v1/uploads", self.start, methods=["POST"]),
                Route("/v1/uploads/{id}/parts/{number:int}", self.part, methods=["PUT"]),
                Route("/v1/uploads/{id}/complete", self.end, methods=["POST"]),
                Route("/v1/bags/by-sha256/{sha256}", self.custody),
            ]
        )

    def is_failing(self):
        self.failing -= 1
        return self.failing >= 0

    async def hook(self, request: Request):
        body = await request.body()
        key = signatures.verify(SECRET, request.headers, body, now=SystemClock().now())
        self.deliveries.append((key, body))
        return Response(status_code=503 if self.is_failing() else 202)

    async def start(self, request: Request):
        if self.is_failing():
            return Response(status_code=503)
        self.opened.append((request.headers["authorization"], json.loads(await request.body())))
        number = str(len(self.opened))
        self.parts[number] = {}
        return JSONResponse({"id": number, "part_max_bytes": 10_000}, status_code=self.start_status)

    async def part(self, request: Request):
        self.parts[request.path_params["id"]][request.path_params["number"]] = await request.body()
        return Response(status_code=204)

    async def end(self, request: Request):
        self.complete.append(request.path_params["id"])
        return JSONResponse({"bag_id": "b"})

    async def custody(self, request: Request):
        self.unsafe -= 1
        return JSONResponse({"safe_to_delete": self.unsafe < 0})

    def said(self):
        """What the deliveries that were told to the end say, each delivery once."""
        return [one for body in dict(self.deliveries).values() for one in translate.events_from(body)]


@pytest.fixture
async def receiver():
    found = Receiver()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        found.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(found.app(), log_config=None, lifespan="off"))
        serving = asyncio.create_task(server._serve([listener]))
        yield found
        server.should_exit = True
        await serving


@pytest.fixture
def options(tmp_path):
    """Options of a quick site without history."""
    return SiteOptions(
        credential=CREDENTIAL, speed=100, history_lives=0, robots=2, duplicate_rate=0, bags_dir=tmp_path / "site"
    )


def with_hook(options, receiver, **news):
    return options.model_copy(update={"webhook_url": f"{receiver.url}/hook", "webhook_secret": SECRET, **news})


def with_uploads(options, receiver, **news):
    return options.model_copy(update={"api_url": receiver.url, "device_token": "device", **news})


@contextlib.asynccontextmanager
async def linked(options):
    """An open site and the adapter on it."""
    async with running(options) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=options.credential)
        async with open_adapter(account) as adapter:
            yield site, adapter


async def until(holds):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def order(*tasks, key="m/1"):
    tasks = tasks or (OrderTask(position=0, kind=TaskKind.go_to, station="dock-4"),)
    return Order(key=key, fence=1, serial_number="SIM-0001", mission_id="m", tasks=tasks)


def statuses(receiver):
    return [one.status for one in receiver.said() if isinstance(one, OrderReport)]


async def test_everything_that_happens_to_an_order_is_posted_signed_and_in_order(options, receiver):
    async with linked(with_hook(options, receiver)) as (_, adapter):
        await adapter.submit(order())
        await until(lambda: OrderStatus.succeeded in statuses(receiver))
    sequences = [one.sequence for one in receiver.said() if isinstance(one, OrderReport)]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_the_state_of_all_units_is_posted_without_being_asked(options, receiver):
    async with linked(with_hook(options, receiver)):
        await until(lambda: any(isinstance(one, Observation) for one in receiver.said()))
    assert {one.serial_number for one in receiver.said()} == {"SIM-0001", "SIM-0002"}


async def test_a_delivery_that_was_not_taken_comes_again_with_the_same_id_and_bytes(options, receiver):
    receiver.failing = 2
    async with linked(with_hook(options, receiver)) as (_, adapter):
        await adapter.submit(order())
        await until(lambda: OrderStatus.succeeded in statuses(receiver))
    by_id = {}
    for key, body in receiver.deliveries:
        by_id.setdefault(key, []).append(body)
    assert all(len(set(bodies)) == 1 for bodies in by_id.values())
    assert len(receiver.deliveries) >= len(by_id)
    sequences = [one.sequence for one in receiver.said() if isinstance(one, OrderReport)]
    assert sorted(set(sequences)) == list(range(1, max(sequences) + 1))


async def test_with_a_duplicate_rate_of_one_everything_comes_twice(options, receiver):
    async with linked(with_hook(options, receiver, duplicate_rate=1.0)) as (_, adapter):
        await adapter.submit(order())
        await until(lambda: statuses(receiver).count(OrderStatus.succeeded) == 1)
        await until(lambda: len(receiver.deliveries) == 2 * len(dict(receiver.deliveries)))
    assert receiver.deliveries[0] == receiver.deliveries[1]


async def test_webhooks_go_on_after_a_restart_where_they_were(options, receiver):
    async with linked(with_hook(options, receiver)) as (_, adapter):
        await adapter.submit(order())
        await until(lambda: OrderStatus.succeeded in statuses(receiver))
    receiver.deliveries.clear()
    async with linked(with_hook(options, receiver)) as (_, adapter):
        await adapter.submit(order(key="m/2"))
        await until(lambda: OrderStatus.succeeded in statuses(receiver))
    assert {one.key for one in receiver.said() if isinstance(one, OrderReport)} == {"m/2"}


async def test_what_happened_before_anyone_listened_is_in_the_history_only(options, receiver):
    with_past = with_hook(options, receiver, history_lives=1)
    async with linked(with_past) as (_, adapter):
        await adapter.submit(order())
        await until(lambda: OrderStatus.succeeded in statuses(receiver))
        pages = [page async for page in adapter.pages("")]
    told = [one for page in pages for one in adapter.events_from(page.body) if isinstance(one, Happening)]
    assert len(told) == 4
    assert not [one for one in receiver.said() if isinstance(one, Happening)]


async def test_a_bag_is_uploaded_in_parts_that_make_up_the_announced_file_and_then_goes(options, receiver):
    record = OrderTask(position=0, kind=TaskKind.record_bag)
    drive = OrderTask(position=1, kind=TaskKind.go_to, station="transformer-1")
    async with linked(with_uploads(options, receiver)) as (_, adapter):
        await adapter.submit(order(record, drive))
        await until(lambda: len(receiver.complete) == 3 and not list(options.bags_dir.glob("*.mcap")))
    wanted = {said["filename"]: (number, said) for number, (_, said) in enumerate(receiver.opened, start=1)}
    number, said = wanted["amr-01-night-1.mcap"]
    content = b"".join(part for _, part in sorted(receiver.parts[str(number)].items()))
    assert len(receiver.parts[str(number)]) > 1
    assert (len(content), hashlib.sha256(content).hexdigest()) == (said["size"], said["sha256"])
    assert (said["robot"], said["mission_id"]) == ("amr-01", "m")
    assert "mission_id" not in wanted["amr-01-life-1.mcap"][1]
    assert {token for token, _ in receiver.opened} == {"Bearer device"}


async def test_a_bag_is_kept_and_sent_again_until_the_platform_says_that_it_may_be_deleted(options, receiver):
    receiver.unsafe = 1
    async with linked(with_uploads(options, receiver, robots=1)):
        await until(lambda: len(receiver.complete) == 2 and not list(options.bags_dir.glob("*.mcap")))
    assert [said["filename"] for _, said in receiver.opened] == ["amr-01-life-1.mcap"] * 2
    assert receiver.parts["1"] == receiver.parts["2"]


async def test_an_upload_goes_on_when_the_platform_is_back(options, receiver):
    receiver.failing = 1
    async with linked(with_uploads(options, receiver)):
        await until(lambda: len(receiver.complete) == 2)


async def test_a_bag_that_is_refused_for_good_is_kept_and_does_not_block_the_next(options, receiver):
    receiver.start_status = 422
    async with linked(with_uploads(options, receiver)):
        await until(lambda: len(receiver.opened) == 2)
    assert len(list(options.bags_dir.glob("*.mcap"))) == 2


async def test_history_is_recorded_once_however_often_the_site_is_opened(options, receiver):
    for _ in range(2):
        async with linked(with_uploads(options, receiver)) as (site, _):
            await until(lambda site=site: site.journal.knows_bag("amr-02-life-1") and not site.journal.waiting_bag())
    assert sorted(said["filename"] for _, said in receiver.opened) == ["amr-01-life-1.mcap", "amr-02-life-1.mcap"]


@pytest.mark.parametrize("credential", ["guessed", ""])
async def test_a_wrong_credential_is_let_in_nowhere_and_taken_for_no_robots_refusal(options, credential):
    async with running(options) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=credential)
        async with open_adapter(account) as adapter:
            with pytest.raises(Rejected, match="401"):
                await adapter.discover()
            outcomes = [await adapter.submit(order()), await adapter.cancel("SIM-0001", "m/1", 1)]
            outcomes.append(await adapter.query("SIM-0001", "m/1"))
    assert [(outcome.kind, outcome.why) for outcome in outcomes] == [
        ("unknown", "the credential is missing or wrong")
    ] * 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/healthz", None, 200),
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/events?limit=0", None, 422),
        ("GET", "/api/events?limit=many", None, 422),
        ("POST", "/api/units/SIM-0001/jobs", b"nonsense", 422),
        ("POST", "/api/units/SIM-0001/jobs", (b'{"token":"m/1","epoch":1,"unitSn":"SIM-0002","reference":"m","steps":'
         b'[{"index":0,"op":"HOLD","limitMs":1}]}'), 422),
        ("POST", "/api/units/SIM-0001/jobs", bytes(BODY_MAX_BYTES + 1), 413),
        ("POST", "/api/units/SIM-0001/commands", b'{"token":"m/1","verb":"DANCE","epoch":1}', 422),
        ("POST", "/api/units/SIM-9999/commands", b'{"token":"m/1","verb":"STOP","epoch":1}', 409),
    ],
)  # fmt: skip
async def test_the_cloud_answers_wrong_requests_with_the_right_status(options, method, path, body, status):
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    async with running(options) as site, open_transport(site.url, headers=headers) as transport:
        answer = await transport.call(method, path, body=body)
    assert answer.status == status


async def test_a_port_in_use_is_a_conflict_that_names_the_port(options):
    async with running(options) as site:
        port = int(site.url.rpartition(":")[2])
        with pytest.raises(Conflict, match=str(port)):
            async with running(options.model_copy(update={"port": port})):
                pass
