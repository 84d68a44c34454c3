"""What learning reads: the drive's measurements from the lake, its failures from the events, and a hash of both."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlmodel import Session, col, select

from fleet.events import Event
from fleet.objectstore import ObjectStore
from fleet.robots import Robot
from ingestion import lake
from ml.features import CHANNELS, matrix
from ml.labels import Failure, Life, Measurements, lives, rul_hours

TOPIC = "/diagnostics"
COMPONENT = "drive_motor"
VALUES = ("operating_hours", *CHANNELS)
# No drive has such amperes, degrees or hours; squares of what is larger would end the training for all robots.
BEYOND_ANY_DRIVE = 1e6
_COLUMNS = ["log_time", "status.name", "status.values.key", "status.values.value"]
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Examples:
    """Rows to learn from or to be judged by: `features` (n, n_features), `rul_hours` (n,)."""

    features: NDArray[np.float64]
    rul_hours: NDArray[np.float64]


def read_measurements(
    objects: ObjectStore, organisation_id: UUID, robots: list[str] | None = None
) -> dict[str, Measurements]:
    """The drive measurements of each robot (default: all), from published bags only; no bags give an empty answer."""
    table = lake.read_topic(objects, organisation_id, TOPIC, columns=_COLUMNS, robots=robots)
    return measurements_from(table)


def measurements_from(table: pa.Table) -> dict[str, Measurements]:
    """The drive measurements in a flattened table of DiagnosticArray messages (pure).

    Other types recorded under the topic's name, a message without the drive, or with a value no drive has, gives no measurement.
    """
    if not table.num_rows or not pa.types.is_list(table.schema.field("status.name").type):
        return {}  # nothing recorded, or something else under this name
    values = _drive_values(table)
    at_s = table["log_time"].cast(pa.int64()).to_numpy() / 1e9
    names = np.asarray(table["robot"].cast(pa.string()).to_pylist())
    whole = (np.abs(values) < BEYOND_ANY_DRIVE).all(axis=1)  # NaN is not below
    return {str(name): _of_robot(str(name), at_s, values, whole & (names == name)) for name in np.unique(names[whole])}


def _of_robot(
    name: str, at_s: NDArray[np.float64], values: NDArray[np.float64], mine: NDArray[np.bool_]
) -> Measurements:
    order = np.argsort(at_s[mine], kind="stable")
    return Measurements(name, at_s[mine][order], values[mine][order])


def _drive_values(table: pa.Table) -> NDArray[np.float64]:
    """The drive's four values of each message, NaN where it has none; shape (n_messages, 4)."""
    # A message holds statuses and a status holds pairs: two levels of lists, taken apart without a loop over rows.
    names, keys, texts = (table[name].combine_chunks() for name in _COLUMNS[1:])
    message_of = pc.list_parent_indices(names).to_numpy()
    is_drive = pc.equal(pc.list_flatten(names), COMPONENT).to_numpy(zero_copy_only=False)
    pairs = pc.list_flatten(keys)
    status_of = pc.list_parent_indices(pairs).to_numpy()
    key = pc.list_flatten(pairs)
    number = _numbers(pc.list_flatten(pc.list_flatten(texts)))
    found = np.full((table.num_rows, len(VALUES)), np.nan)
    for column, name in enumerate(VALUES):
        mine = pc.equal(key, name).to_numpy(zero_copy_only=False) & is_drive[status_of]
        found[message_of[status_of[mine]], column] = number[mine]
    return found


def _numbers(texts: pa.Array) -> NDArray[np.float64]:
    texts = texts.cast(pa.string())
    is_number = pc.match_substring_regex(texts, _NUMBER)
    checked = pc.if_else(is_number, texts, pa.scalar(None, pa.string()))
    numbers: NDArray[np.float64] = checked.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def read_failures(session: Session, organisation_id: UUID) -> dict[str, list[Failure]]:
    """The recorded failures of drives by robot name; events of other components are left out."""
    query = (
        select(Robot.name, Event)
        .where(Event.organisation_id == organisation_id, Event.kind == "component_failed")
        .where(col(Event.robot_id) == Robot.id)
        .order_by(col(Event.occurred_at))
    )
    found: dict[str, list[Failure]] = {}
    for name, event in session.exec(query).all():
        if event.fields.get("component") == COMPONENT:
            hours = event.fields.get("operating_hours")
            known = float(hours) if isinstance(hours, int | float) else None
            found.setdefault(name, []).append(Failure(name, event.occurred_at, known))
    return found


def all_lives(measured: Mapping[str, Measurements], failures: Mapping[str, Sequence[Failure]]) -> list[Life]:
    """The lives of all robots, by robot and number."""
    return [life for name in sorted(measured) for life in lives(measured[name], failures.get(name, ()))]


def examples(ended: Sequence[Life], *, cap_hours: float, seed: int | None = None) -> Examples:
    """The rows of ended lives. With `seed` each life is told twice: from its first window, and from a drawn later one.

    The second telling teaches what a robot looks like whose first hours nobody recorded.
    """
    parts = [(matrix(life.windows), rul_hours(life, cap_hours=cap_hours)) for life in ended]
    if seed is not None:
        draw = np.random.default_rng(seed)
        for life in ended:
            start = int(draw.integers(len(life.windows)))
            parts.append((matrix(life.windows[start:]), rul_hours(life, cap_hours=cap_hours)[start:]))
    return Examples(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def data_hash(lives: Sequence[Life]) -> str:
    """Names exactly these lives: the same measurements and failures give the same hash."""
    digest = hashlib.sha256()
    for life in lives:
        digest.update(f"{life.name} {life.failed_hours!r} {len(life.windows)}\n".encode())
        digest.update(np.array(life.windows, dtype="<f8").tobytes())
    return digest.hexdigest()
