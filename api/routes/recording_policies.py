"""Recording policies, the recordings that triggers and requests begin, and what a robot is told to record."""

import hashlib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import select

from api.deps import Operator, Parts, Reader, Uploader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from api.strict import StrictRoute
from ingestion import recording_policies as policies
from ingestion import recordings
from ingestion.recording_policies import PolicyVersion
from ingestion.recording_policy import NOTHING, Plain, RecordingPolicy
from ingestion.recordings import Recording, RecordingOrder, RecordingView, RecordingWanted

router = APIRouter(tags=["recordings"], route_class=StrictRoute)

RobotWord = Annotated[str, Path(max_length=200, description="Id or name of the robot.")]
PolicyName = Annotated[str, Path(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", description="Its name.")]


class PolicyWrite(BaseModel):
    """A new version of a policy."""

    model_config = ConfigDict(extra="forbid")

    policy: RecordingPolicy
    why: Plain = Field(description="Why it is changed, for its history.")


class PolicyRead(BaseModel):
    """One version of a policy, with who wrote it when and why."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: int
    policy: RecordingPolicy
    why: str
    written_by: str
    written_at: datetime


class PolicyOfRobot(BaseModel):
    """What a robot shall record: its policy, and what somebody wants of it now."""

    robot: str
    name: str | None = Field(
        description="The policy that counts for it; null: none does, and it records by request only."
    )
    version: int = Field(description="0 when no policy counts for it.")
    policy: RecordingPolicy
    requests: list[RecordingOrder] = Field(description="Record each once, by its id, and upload it with that trigger.")


@router.get("/v1/recording-policies", responses=described(401, 403))
def list_policies(runtime: Parts, caller: Reader) -> list[PolicyRead]:
    """The newest version of each recording policy of your organisation, by name."""
    with runtime.reading() as session:
        rows = policies.newest(session, caller.organisation_id)
        return [PolicyRead.model_validate(row) for row in rows]


@router.get("/v1/recording-policies/{name}/versions", responses=described(401, 403, 404, 422))
def list_versions(name: PolicyName, runtime: Parts, caller: Reader) -> list[PolicyRead]:
    """Every version of a recording policy, newest first: who wrote it, when and why."""
    with runtime.reading() as session:
        rows = policies.versions(session, caller.organisation_id, name)
        return [PolicyRead.model_validate(row) for row in rows]


@router.put("/v1/recording-policies/{name}", responses=described(401, 403, 404, 409, 422))
def put_policy(name: PolicyName, wanted: PolicyWrite, runtime: Parts, caller: Operator) -> PolicyRead:
    """Write a new version of a recording policy. What the newest version says already makes no other one."""
    with runtime.transaction() as session:
        row = policies.put(
            session,
            organisation_id=caller.organisation_id,
            name=name,
            policy=wanted.policy,
            why=wanted.why,
            who=str(caller),
        )
        return PolicyRead.model_validate(row)


@router.get(
    "/v1/robots/{robot}/recording-policy",
    response_model=PolicyOfRobot,
    responses=described(401, 403, 404) | {304: {"description": "As the robot has it: `If-None-Match` is its tag."}},
)
def show_policy(
    robot: RobotWord,
    runtime: Parts,
    caller: Uploader,
    response: Response,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of the answer that the robot has.")] = None,
) -> Response | PolicyOfRobot:
    """What a robot shall record. Robots ask with their device's token, by id or name, and follow the newest answer."""
    with runtime.reading() as session:
        row = recordings.robot_for(session, caller, robot)
        version = policies.policy_of(session, row)
        asked = recordings.open_requests(session, row)
    tag = _tag(version, asked)
    if if_none_match is not None and tag in {one.strip().removeprefix("W/") for one in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return PolicyOfRobot(
        robot=row.name,
        name=version.name if version else None,
        version=version.version if version else 0,
        policy=version.policy if version else NOTHING,
        requests=asked,
    )


def _tag(version: PolicyVersion | None, asked: list[RecordingOrder]) -> str:
    """The version and what is asked for; a row's id never comes again, so neither does a tag."""
    told = "\n".join([str(version.id) if version else "", *(order.id for order in asked)])
    return f'"{version.version if version else 0}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"'


@router.get("/v1/recordings", responses=described(401, 403, 422))
def list_recordings(runtime: Parts, caller: Reader, place: Wanted) -> Listing[RecordingView]:
    """The recordings that were asked for or triggered, newest first: how far each is, and which bag it became."""
    with runtime.reading() as session:
        rows, following = page_of(session, Recording, caller, place)
        return Listing(items=recordings.views(session, rows), next=following)


@router.post("/v1/robots/{robot}/recordings", status_code=201, responses=described(401, 403, 404, 422))
def request_recording(
    robot: RobotWord, wanted: RecordingWanted, runtime: Parts, caller: Operator, response: Response
) -> RecordingView:
    """Ask a robot for a recording of what it shows now. The same `key` again is the same recording (200 instead of 201)."""
    with runtime.transaction() as session:
        row = recordings.robot_for(session, caller, robot)
        known = select(Recording.id).where(
            Recording.robot_id == row.id, Recording.trigger_id == recordings.trigger_of(wanted.key)
        )
        response.status_code = 200 if session.exec(known).first() else 201
        asked = recordings.ask(session, row, wanted, who=str(caller))
        return recordings.views(session, [asked])[0]
