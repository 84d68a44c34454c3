"""The manufacturer's cloud over HTTP: units, status, jobs, commands, history. Its words are in wire."""

import hmac
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleet.adapter import Accepted, Acknowledged, OrderStatus
from fleet.adapters.simulated import translate, wire
from fleet.adapters.simulated.journal import Journal
from fleet.adapters.simulated.world import World
from fleet.errors import Invalid, TooLarge

BODY_MAX_BYTES = 1_000_000
PAGE_MAX_ENTRIES = 500
WANTED = {
    wire.Verb.stop: OrderStatus.canceled,
    wire.Verb.hold: OrderStatus.paused,
    wire.Verb.proceed: OrderStatus.running,
}
Endpoint = Callable[[Request], Awaitable[Response]]


class Cloud:
    """The endpoints; each carries the credential as a bearer token, except health."""

    def __init__(self, world: World, journal: Journal, credential: str) -> None:
        """`journal` is the world's own."""
        self._world, self._journal = world, journal
        self._credential = credential.encode()

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/api/units", self._guarded(self.units)),
                Route("/api/status", self._guarded(self.status)),
                Route("/api/units/{unit_sn}/jobs", self._guarded(self.job), methods=["GET"]),
                Route("/api/units/{unit_sn}/jobs", self._guarded(self.submit), methods=["POST"]),
                Route("/api/units/{unit_sn}/commands", self._guarded(self.command), methods=["POST"]),
                Route("/api/events", self._guarded(self.events)),
            ]
        )

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, self._credential):
                return _problem(401, "NO_CREDENTIAL", "the credential is missing or wrong")
            try:
                return await endpoint(request)
            except TooLarge as error:
                return _problem(413, "TOO_LARGE", error.message)
            except Invalid as error:
                return _problem(422, "NOT_UNDERSTOOD", error.message)

        return guarded

    async def health(self, request: Request) -> Response:
        """GET /healthz: 200 once it is up."""
        return Response("ok", media_type="text/plain")

    async def units(self, request: Request) -> Response:
        """GET /api/units."""
        identities = [robot.identity for robot in self._world.robots.values()]
        return _answer(200, wire.Units(units=tuple(translate.unit_from(identity) for identity in identities)))

    async def status(self, request: Request) -> Response:
        """GET /api/status: all units and the jobs they work on."""
        said = await run_in_threadpool(self._world.status)
        return _answer(200, wire.Batch(entries=tuple(translate.entry_from(one) for one in said)))

    async def job(self, request: Request) -> Response:
        """GET /api/units/{unit_sn}/jobs?token=: how the job stands."""
        unit_sn, token = request.path_params["unit_sn"], request.query_params.get("token", "")
        report = await run_in_threadpool(self._world.query, unit_sn, token)
        if report is None:
            return _problem(404, "NO_JOB", f"unit {unit_sn} has no job {token}")
        return _answer(200, translate.job_state_from(report))

    async def submit(self, request: Request) -> Response:
        """POST /api/units/{unit_sn}/jobs: 201 with a ticket, also when the token is known; 409 with the cause."""
        job = translate.parsed(wire.Job, await _body(request))
        if job.unit_sn != request.path_params["unit_sn"]:
            raise Invalid(f"the job is for {job.unit_sn}, but was sent to {request.path_params['unit_sn']}")
        outcome = await run_in_threadpool(self._world.submit, translate.order_from(job))
        if isinstance(outcome, Accepted):
            return _answer(201, wire.Ticket(job_ref=outcome.reference, state=wire.JobWord.queued))
        return _problem(409, "DECLINED", outcome.reason)

    async def command(self, request: Request) -> Response:
        """POST /api/units/{unit_sn}/commands: 202; 409 with the cause."""
        body = translate.parsed(wire.CommandBody, await _body(request))
        unit_sn = request.path_params["unit_sn"]
        outcome = await run_in_threadpool(self._world.command, unit_sn, body.token, WANTED[body.verb], body.epoch)
        if isinstance(outcome, Acknowledged):
            return Response(status_code=202)
        return _problem(409, "NOT_POSSIBLE", outcome.reason)

    async def events(self, request: Request) -> Response:
        """GET /api/events?after=&limit=: the history after that cursor; an unknown cursor begins at the start."""
        limit = _whole(request.query_params.get("limit", "100"), most=PAGE_MAX_ENTRIES)
        number = position(self._journal.identity, request.query_params.get("after", ""))
        found = await run_in_threadpool(self._journal.feed_after, number, limit=limit + 1)
        page = found[:limit]
        last = page[-1].number if page else number
        entries = ",".join(one.entry for one in page)
        following, more = cursor(self._journal.identity, last), "true" if len(found) > limit else "false"
        body = f'{{"entries":[{entries}],"next":"{following}","more":{more}}}'
        return Response(body, media_type="application/json")


def cursor(identity: str, number: int) -> str:
    """The cursor behind this entry; it names the journal too, so that one of another journal is not mistaken."""
    return f"{identity}-{number}"


def position(identity: str, given: str) -> int:
    """The number that a cursor stands for in this journal; 0 when it is empty or of another journal."""
    owner, _, number = given.rpartition("-")
    return int(number) if owner == identity and number.isdecimal() else 0


def _whole(text: str, *, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Invalid(f"limit is {text!r}, it must be a whole number from 1 to {most}")
    return int(text)


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > BODY_MAX_BYTES:
            raise TooLarge(f"the body is larger than {BODY_MAX_BYTES} bytes")
    return bytes(received)


def _answer(status: int, said: wire.Wire) -> Response:
    return Response(said.model_dump_json(by_alias=True), status_code=status, media_type="application/json")


def _problem(status: int, code: str, cause: str) -> Response:
    return _answer(status, wire.Problem(code=code, cause=cause))
