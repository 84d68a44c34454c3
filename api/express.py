"""The shortest way for the two requests of which there are thousands: a mission asked for, and a webhook.

Both are routes like any other, in api/routes, which say what they are and answer whatever is odd. What is as it should
be needs none of the framework on its way, which costs several times what it does; so it is taken here, by the same
functions. Whatever is not taken goes the long way as it came.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from uuid import UUID

from pydantic import ValidationError
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.deps import OPERATORS
from api.problems import problem_of
from api.routes.missions import MissionWanted, answer_to
from api.routes.webhooks import Letterbox
from fleet.errors import YardmasterError

MISSIONS = "/v1/missions"
WEBHOOKS = "/v1/webhooks/"
BEARER = "Bearer "
JSON = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
Headers = Mapping[str, str]


class Express:
    """Takes what is as it should be; the application behind it takes everything else."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        """`state` has the doorman, the reception and the letterbox."""
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, or pass it on as it came."""
        lane = self._lane(scope)
        if lane is None:
            return await self._app(scope, receive, send)
        post = _Post(receive)
        # The first of several headers of a name counts, as on the long way.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        try:
            response = await lane(headers, post)
        except YardmasterError as error:
            response = problem_of(scope["path"], error)
        if response is None:
            return await self._app(scope, post.again, send)
        return await response(scope, receive, send)

    def _lane(self, scope: Scope) -> "Lane | None":
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            return None
        path: str = scope["path"]
        if path == MISSIONS:
            return self._mission
        if not path.startswith(WEBHOOKS):
            return None
        try:
            account_id = UUID(path.removeprefix(WEBHOOKS))
        except ValueError:
            return None
        return partial(self._webhook, account_id)

    async def _webhook(self, account_id: UUID, headers: Headers, post: "_Post") -> Response | None:
        letterbox: Letterbox = self._state.letterbox
        account = await letterbox.account(account_id)  # nobody's body is not even read
        body = await post.body()
        if body is None:
            return None
        await letterbox.take(account, headers, body)
        return Response(status_code=202)

    async def _mission(self, headers: Headers, post: "_Post") -> Response | None:
        given = headers.get("authorization", "")
        token = given.removeprefix(BEARER)
        is_plain = token != given and token == token.strip() != ""
        if not is_plain or headers.get("content-type", "").lower() not in JSON:
            return None
        body = await post.body()
        if body is None:
            return None
        caller = await self._state.doorman.principal(token)
        if caller.kind not in OPERATORS:
            return None
        try:
            wanted = MissionWanted.model_validate_json(body)
        except ValidationError:
            return None
        return answer_to(await self._state.reception.ask(caller, wanted.site, wanted.mission()))


class _Post:
    """The body of a request, which can be received again."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = bytearray()
        self._is_whole = self._is_told = False
        self._end: Message | HTTPException | None = None  # what came instead of the rest

    async def body(self) -> bytes | None:
        """All of it; None when it does not come in whole."""
        try:
            while not self._is_whole and self._end is None:
                message = await self._receive()
                if message["type"] == "http.request":
                    self._received += message.get("body", b"")
                    self._is_whole = not message.get("more_body", False)
                else:
                    self._end = message
        except HTTPException as error:
            self._end = error
        return bytes(self._received) if self._is_whole else None

    async def again(self) -> Message:
        """What was received, once more, and then what follows."""
        if not self._is_told:
            self._is_told = True
            return {"type": "http.request", "body": bytes(self._received), "more_body": not self._is_whole}
        if isinstance(self._end, HTTPException):
            raise self._end
        return self._end or await self._receive()


Lane = Callable[[Headers, _Post], Awaitable[Response | None]]
