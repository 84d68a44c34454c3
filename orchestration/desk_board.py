"""The boards: what missions and schedules of the installation do, as Prefect artifacts that are kept up to date."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from sqlmodel import Session, col, select

from fleet.organisations import Organisation
from fleet.robots import Robot
from missions import snapshot
from missions.models import MISSION_TERMINAL, Desired, Mission
from orchestration import board_rows
from orchestration.markdown import table_text
from orchestration.mirrored import Wanted

MISSIONS, SCHEDULES = "missions-board", "schedules-board"
DESCRIPTIONS = {
    MISSIONS: "Missions that are not over, and the last that ended. The database is the truth; this is its picture.",
    SCHEDULES: "What the schedules of all organisations do next. Each occurrence is also a scheduled run.",
}
DECIDE = (
    "## To decide ({n})\n\nThese robots went silent with an order. Look at the robot: wait until it answers, or, when it "
    "is safe, give the order up with control-mission, command abandon."
)
LIVE_MAX = 200
ENDED_MAX = 30
MAY_BE_EMPTY = ("Wanted", "Now", "Waits because")
Reading = Callable[[], AbstractContextManager[Session]]
Line = tuple[Mission, str, str | None]


def board(session: Session) -> str:
    """What a person must decide, what is live, what is held, what is done by others' orders, and what ended last."""
    live = _lines(session, is_live=True)
    ended = _lines(session, is_live=False)
    ids = [line[0].id for line in live]
    waiting_for = snapshot.waiting_for(session, [line[0] for line in live])
    return "\n\n".join(
        [
            *_section(DECIDE, board_rows.to_decide(session)),
            f"## Live missions ({len(live)})",
            _table(live, waiting_for, board_rows.tasks_now(session, ids)) if live else "None.",
            *_section("## Held ({n})", board_rows.held(session)),
            *_section("## Robots at work on orders of others ({n})", board_rows.foreign(session)),
            f"## Ended last ({len(ended)})",
            _table(ended, {}, {}) if ended else "None.",
        ]
    )


def schedules(session: Session, wanted: Collection[Wanted]) -> str:
    """What comes next, in the schedules' local times and in UTC, and which schedules are paused."""
    ahead = board_rows.next_occurrences(wanted)
    return "\n\n".join(
        [
            f"## Next occurrences ({len(ahead)})",
            table_text(ahead) if ahead else "None.",
            *_section("## Paused schedules ({n})", board_rows.paused_schedules(session)),
        ]
    )


def _section(title: str, rows: Sequence[board_rows.Row]) -> list[str]:
    return [title.format(n=len(rows)), table_text(rows)] if rows else []


def _lines(session: Session, *, is_live: bool) -> Sequence[Line]:
    over = col(Mission.status).in_(MISSION_TERMINAL)
    query = (
        select(Mission, Organisation.name, Robot.name)
        .join(Organisation, col(Organisation.id) == Mission.organisation_id)
        .join(Robot, col(Robot.id) == Mission.robot_id, isouter=True)
    )
    if is_live:
        query = query.where(~over).order_by(col(Mission.priority).desc(), col(Mission.id)).limit(LIVE_MAX)
    else:
        query = query.where(over).order_by(col(Mission.updated_at).desc()).limit(ENDED_MAX)
    return session.exec(query).all()


def _table(lines: Sequence[Line], waiting_for: Mapping[UUID, str], now_at: Mapping[UUID, str]) -> str:
    """The missions; a page is narrow, so a column stands only where it tells something of one of them."""
    rows = [
        {
            "Mission": mission.name,
            "Status": mission.status.value,
            "Wanted": ""
            if mission.desired is Desired.run or mission.status in MISSION_TERMINAL
            else mission.desired.value,
            "Robot": robot or "",
            "Now": now_at.get(mission.id, "") if robot else "",
            "Waits because": waiting_for.get(mission.id, ""),
            "Reason": mission.reason,
            "Changed": f"{mission.updated_at:%Y-%m-%d %H:%M:%S} UTC",
            "Organisation": organisation,
        }
        for mission, organisation, robot in lines
    ]
    empty = {name for name in MAY_BE_EMPTY if not any(row[name] for row in rows)}
    return table_text([{name: value for name, value in row.items() if name not in empty} for row in rows])


async def hang_up(client: PrefectClient, key: str, text: str) -> None:
    """Show `text` as that board: the artifact of its key is changed in place, so it does not pile up."""
    found = await client.read_latest_artifacts(
        artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key])), limit=1
    )
    if found:
        await client.update_artifact(found[0].latest_id, ArtifactUpdate(data=text))
    else:
        made = ArtifactCreate(key=key, type="markdown", data=text, description=DESCRIPTIONS[key])
        await client.create_artifact(made)
