"""How a message that may be anything is read: what can be taken is taken, the rest is complained of in a sentence."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson

TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
SHOWN = 60


class Reader:
    """The fields of one JSON object; every complaint names where and what."""

    __slots__ = ("_fields", "_where", "complaints")

    def __init__(self, fields: Mapping[str, object], where: str, complaints: list[str]) -> None:
        """`where` is how the object is called in complaints."""
        self._fields, self._where, self.complaints = fields, where, complaints

    def complain(self, sentence: str) -> None:
        """Say what is wrong here."""
        self.complaints.append(f"{self._where}: {sentence}")

    def has(self, name: str) -> bool:
        """Whether the field was sent, be it null."""
        return name in self._fields

    def known_only(self, names: frozenset[str]) -> None:
        """Complain of fields that the standard does not know."""
        unknown = self._fields.keys() - names
        if unknown:
            self.complain(f"fields that the standard does not know: {', '.join(sorted(map(str, unknown))[:5])}")

    def text(self, name: str, *, needed: bool = False) -> str | None:
        """A text, also a number where a text belongs; None when it is absent."""
        found = self._fields.get(name)
        if type(found) is str:
            return found
        if isinstance(found, int | float) and not isinstance(found, bool):
            self._wrong(name, found, "no text")
            return str(found)
        self._nothing(name, found, "no text", needed=needed)
        return None

    def number(self, name: str, *, needed: bool = False) -> float | None:
        """A finite number, also one written as text."""
        found = self._fields.get(name)
        if type(found) is float or type(found) is int:
            if math.isfinite(found):
                return float(found)
        elif isinstance(found, str):
            self._wrong(name, found, "no number")
            try:
                number = float(found)
            except ValueError:
                return None
            return number if math.isfinite(number) else None
        self._nothing(name, found, "no number", needed=needed)
        return None

    def whole(self, name: str, *, needed: bool = False) -> int | None:
        """A whole number."""
        found = self._fields.get(name)
        if type(found) is int:
            return found
        number = self.number(name, needed=needed)
        return None if number is None or abs(number) > 2**53 else int(number)

    def flag(self, name: str, *, needed: bool = False) -> bool | None:
        """True or false, also as text."""
        found = self._fields.get(name)
        if found is True or found is False:
            return found
        said = str(found).lower()
        if said in TRUE or said in FALSE:
            self._wrong(name, found, "neither true nor false")
            return said in TRUE
        self._nothing(name, found, "neither true nor false", needed=needed)
        return None

    def each(self, name: str, *, needed: bool = False) -> "list[Reader] | None":
        """The objects of an array; what is no object in it is left out."""
        found = self._fields.get(name)
        if not isinstance(found, list):
            self._nothing(name, found, "no array", needed=needed)
            return None
        where = f"{self._where}.{name}"
        kept = [Reader(one, where, self.complaints) for one in found if isinstance(one, dict)]
        if len(kept) < len(found):
            self.complain(f"{name} holds {len(found) - len(kept)} things that are no objects")
        return kept

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of an array."""
        found = self._fields.get(name)
        return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()

    def inner(self, name: str, *, needed: bool = False) -> "Reader | None":
        """An object within."""
        found = self._fields.get(name)
        if isinstance(found, dict):
            return Reader(found, f"{self._where}.{name}", self.complaints)
        self._nothing(name, found, "no object", needed=needed)
        return None

    def instant(self, name: str, *, needed: bool = False) -> datetime | None:
        """An ISO 8601 instant; without a zone it is taken as UTC, as the standard has it."""
        said = self.text(name, needed=needed)
        if said is None:
            return None
        try:
            at = datetime.fromisoformat(said)
        except ValueError:
            self._wrong(name, said, "no instant")
            return None
        try:
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except OverflowError:
            self._wrong(name, said, "no instant of our time")
            return None

    def _nothing(self, name: str, found: object, why: str, *, needed: bool) -> None:
        if found is not None:
            self._wrong(name, found, why)
        elif needed:
            self.complain(f"{name} is missing")

    def _wrong(self, name: str, found: object, why: str) -> None:
        self.complain(f"{name} is {str(found)[:SHOWN]!r}, {why}")


def parsed(payload: bytes, where: str, complaints: list[str]) -> Reader | None:
    """The object in these bytes, or None with a complaint when there is none."""
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        found = _leniently(payload, where, complaints)
    if not isinstance(found, dict):
        if found is not None:
            complaints.append(f"{where}: no JSON object came but {str(found)[:SHOWN]!r}")
        return None
    return Reader(found, where, complaints)


def _leniently(payload: bytes, where: str, complaints: list[str]) -> object:
    """NaN and Infinity, a byte order mark, or bytes that are no UTF-8 do not cost the message."""
    try:
        found = json.loads(payload.decode("utf-8-sig", errors="replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        complaints.append(f"{where}: no JSON came ({str(error)[:SHOWN]})")
        return None
    complaints.append(f"{where}: it is no strict JSON (NaN, a byte order mark or bytes that are no UTF-8)")
    return found


def ids(readers: Sequence[Reader] | None, name: str) -> tuple[int, ...] | None:
    """One whole number of each; None when the array itself was not told."""
    if readers is None:
        return None
    return tuple(number for one in readers if (number := one.whole(name, needed=True)) is not None)
