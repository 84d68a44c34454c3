"""What routes are handed: the runtime's parts, and the principal whom a bearer token names."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.memory import Remembered
from fleet.errors import Forbidden, Unauthorized
from fleet.organisations import Principal, PrincipalKind, principal_of
from fleet.runtime import Runtime

# How late the revocation of a token may be noticed.
TOKEN_SECONDS = 2.0

OPERATORS = frozenset({PrincipalKind.user, PrincipalKind.key, PrincipalKind.system})
READERS = OPERATORS | {PrincipalKind.customer, PrincipalKind.partner}
UPLOADERS = OPERATORS | {PrincipalKind.device}

bearer = HTTPBearer(auto_error=False, description="A token of your organisation, as its administrator issued it.")


class Doorman:
    """Knows whose token it is, for TOKEN_SECONDS without asking the database again."""

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` gives the clock and the database."""
        self._runtime = runtime
        self._known: Remembered[bytes, Principal] = Remembered(runtime.clock, seconds=TOKEN_SECONDS)

    async def principal(self, token: str) -> Principal:
        """Whose token this is.

        Raises:
            Unauthorized: nobody's.
        """
        digest = hashlib.sha256(token.encode()).digest()
        found = await self._known.fetch(digest, lambda: self._look_up(token))
        if found is None:
            raise Unauthorized("This bearer token is unknown or revoked; ask your administrator for a new one.")
        return found

    def _look_up(self, token: str) -> Principal | None:
        with self._runtime.reading() as session:
            return principal_of(session, token)


async def runtime_of(request: Request) -> Runtime:
    """The runtime that the app was made with."""
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


async def _caller(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    if given is None:
        raise Unauthorized("This needs the header 'Authorization: Bearer <token>'.")
    doorman = request.app.state.doorman
    assert isinstance(doorman, Doorman)
    return await doorman.principal(given.credentials)


def _one_of(kinds: frozenset[PrincipalKind]) -> Callable[[Principal], Coroutine[None, None, Principal]]:
    async def admitted(caller: Annotated[Principal, Depends(_caller)]) -> Principal:
        if caller.kind not in kinds:
            raise Forbidden(
                f"A token of kind {caller.kind} may not do this; it needs one of {', '.join(sorted(kinds))}.",
                kind=caller.kind,
            )
        return caller

    return admitted


Parts = Annotated[Runtime, Depends(runtime_of)]
Operator = Annotated[Principal, Depends(_one_of(OPERATORS))]
Reader = Annotated[Principal, Depends(_one_of(READERS))]
Custodian = Annotated[Principal, Depends(_one_of(READERS | UPLOADERS))]
Uploader = Annotated[Principal, Depends(_one_of(UPLOADERS))]
