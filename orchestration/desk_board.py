"""The missions board: what every mission of the installation is doing, as a Prefect artifact that is kept up to date."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from sqlmodel import Session, col, select

from fleet.organisations import Organisation
from fleet.robots import Robot
from missions import snapshot
from missions.models import MISSION_TERMINAL, Mission
from orchestration.artifacts import table_text

KEY = "missions-board"
DESCRIPTION = "Missions that are not over, and the last that ended. The database is the truth; this is its picture."
LIVE_MAX = 200
ENDED_MAX = 30
Reading = Callable[[], AbstractContextManager[Session]]
Line = tuple[Mission, str, str | None]


def board(session: Session) -> str:
    """The board as Markdown: one table of what is live, one of what ended last."""
    live = _lines(session, is_live=True)
    ended = _lines(session, is_live=False)
    return "\n\n".join(
        [
            f"## Live missions ({len(live)})",
            _table(live, snapshot.waiting_for(session, [line[0] for line in live])) if live else "None.",
            f"## Ended last ({len(ended)})",
            _table(ended, {}) if ended else "None.",
        ]
    )


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


def _table(lines: Sequence[Line], waiting_for: Mapping[UUID, str]) -> str:
    return table_text(
        [
            {
                "Mission": mission.name,
                "Status": mission.status.value,
                "Wanted": mission.desired.value,
                "Robot": robot or "",
                "Reason": mission.reason,
                **({"Waits because": waiting_for.get(mission.id, "")} if waiting_for else {}),
                "Organisation": organisation,
                "Changed": f"{mission.updated_at:%Y-%m-%d %H:%M:%S} UTC",
            }
            for mission, organisation, robot in lines
        ]
    )


async def hang_up(client: PrefectClient, text: str) -> None:
    """Show `text` as the board: the artifact of that key is changed in place, so it does not pile up."""
    found = await client.read_latest_artifacts(
        artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[KEY])), limit=1
    )
    if found:
        await client.update_artifact(found[0].latest_id, ArtifactUpdate(data=text))
    else:
        await client.create_artifact(ArtifactCreate(key=KEY, type="markdown", data=text, description=DESCRIPTION))
