"""JSON bodies that hold what no database and no answer can keep are refused at the border, each value by its place."""

import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api.problems import ERRORS_MAX

Place = tuple[str | int, ...]


class StrictRoute(APIRoute):
    """A route that takes only finite numbers and whole characters without NUL in its JSON body; 422 otherwise.

    Python's JSON reader takes NaN and halves of surrogate pairs, and what is stored once with them is never shown again.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind this check."""
        handle = super().get_route_handler()
        has_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if has_body and (wrong := await _faults_of(request)):
                raise RequestValidationError(wrong)
            return await handle(request)

        return strict


async def _faults_of(request: Request) -> list[dict[str, object]]:
    await request.body()
    with suppress(ValueError, RecursionError):  # what is no JSON is told by FastAPI, which reads it again
        found = islice(faults(await request.json()), ERRORS_MAX)
        return [{"loc": ("body", *place), "msg": why} for place, why in found]
    return []


def faults(value: object) -> Iterator[tuple[Place, str]]:
    """Where in `value`, parsed JSON of any depth, there is something that cannot be kept, and what is wrong with it."""
    waiting: list[tuple[Place, object]] = [((), value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(((*place, "a name"), name) for name in one)
            waiting.extend(((*place, name), inner) for name, inner in one.items())
        elif isinstance(one, list):
            waiting.extend(((*place, number), inner) for number, inner in enumerate(one))
        elif (why := _fault(one)) is not None:
            yield place, why


def _fault(one: object) -> str | None:
    if isinstance(one, float) and not math.isfinite(one):
        return "This is not a finite number; JSON has neither NaN nor infinity."
    if not isinstance(one, str):
        return None
    if "\0" in one:
        return "This text holds a NUL character; leave it out."
    try:
        one.encode()
    except UnicodeEncodeError:
        return "This text holds half of a surrogate pair; send whole characters."
    return None
