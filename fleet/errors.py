"""The one tree of errors; each carries a stable code and typed fields, its sentence says what was wrong and what to do.

YardmasterError
├── NotFound       nothing of that name is visible to the one who asks       (HTTP 404)
├── Conflict       it exists, and its present state forbids this             (HTTP 409)
├── Invalid        the value itself is wrong                                 (HTTP 422)
│   └── TooLarge   it is larger than the stated limit                        (HTTP 413)
├── TooMany        as many as may be are under way already                   (HTTP 429)
├── NoRoom         the one who asks has used up the room there is for it     (HTTP 507)
├── Forbidden      the one who asks may not                                  (HTTP 403)
│   └── Unauthorized  nobody known asks: missing or wrong credential         (HTTP 401)
├── Rejected       the other side understood and refused; never retried      (HTTP 502)
└── Unavailable    the other side did not answer; retried with backoff       (HTTP 503)
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class YardmasterError(Exception):
    """Root of every error Yardmaster raises on purpose."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **fields: object) -> None:
        """`message` tells what was wrong, with which value, and what to do; `fields` are the values for machines."""
        super().__init__(message)
        self.message = message
        self.fields = fields


class NotFound(YardmasterError):
    """Nothing of that name is visible to the one who asks."""

    code = "not_found"
    status = 404


class Conflict(YardmasterError):
    """It exists, and its present state forbids this."""

    code = "conflict"
    status = 409


class Invalid(YardmasterError):
    """The value itself is wrong."""

    code = "invalid"
    status = 422


class TooLarge(Invalid):
    """The value is larger than the stated limit."""

    code = "too_large"
    status = 413


class TooMany(YardmasterError):
    """As many as may be are under way already; later there may be fewer."""

    code = "too_many"
    status = 429


class NoRoom(YardmasterError):
    """The one who asks has used up the room there is for it."""

    code = "no_room"
    status = 507


class Forbidden(YardmasterError):
    """The one who asks may not."""

    code = "forbidden"
    status = 403


class Unauthorized(Forbidden):
    """Nobody known asks: the credential is missing or wrong."""

    code = "unauthorized"
    status = 401


class Rejected(YardmasterError):
    """The other side understood and refused; sending it again changes nothing."""

    code = "rejected"
    status = 502


class Unavailable(YardmasterError):
    """The other side did not answer; the same may succeed later."""

    code = "unavailable"
    status = 503


PLAINER = {"timezone_aware": "Say how far it is from UTC, as in 2026-03-01T06:00:00+01:00 or 2026-03-01T05:00:00Z"}


def complaints(error: "ValidationError") -> list[str]:
    """What pydantic refused, one sentence for each field with its value."""
    return [
        f"{'.'.join(map(str, problem['loc']))}: {PLAINER.get(problem['type'], problem['msg'])} "
        f"(it is {problem['input']!r:.120})"
        for problem in error.errors()
    ]
