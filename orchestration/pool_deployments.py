"""prefect.yaml as it is applied: like `prefect deploy --all`, in one process and only what changed.

A deployment carries the hash of what made it as its version, so applying again costs one request each, and what an
operator paused in the UI stays paused until the file itself changes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.errors import Invalid, Unavailable
from fleet.http_errors import HTTP_ERRORS
from orchestration.pool import POOL, POOL_TYPE, YardmasterWorker

FILE = Path(__file__).parent.parent / "prefect.yaml"


class Schedule(BaseModel):
    """When a deployment runs by itself."""

    model_config = ConfigDict(extra="forbid")
    cron: str
    timezone: str
    slug: str
    active: bool = True


class WorkPool(BaseModel):
    """Where a deployment runs."""

    name: str = POOL


class Deployment(BaseModel):
    """One entry of prefect.yaml, as far as we use Prefect's words."""

    model_config = ConfigDict(extra="forbid")
    name: str
    entrypoint: str
    description: str
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: list[Schedule] = Field(default_factory=list)
    work_pool: WorkPool = Field(default_factory=WorkPool)


def read(file: Path = FILE) -> list[Deployment]:
    """The deployments that `file` declares.

    Raises:
        Invalid: the file is not what we write into it; says what is wrong where.
    """
    try:
        return [Deployment.model_validate(entry) for entry in yaml.safe_load(file.read_text())["deployments"]]
    except (ValidationError, yaml.YAMLError, KeyError, TypeError) as error:
        raise Invalid(f"{file.name} is wrong: {error}") from error


async def apply(file: Path = FILE) -> list[str]:
    """Make the server's pool and deployments those of `file`; gives the names of those that changed.

    Raises:
        Invalid: the file, a flow or a parameter is wrong.
        Unavailable: the Prefect server does not answer.
    """
    wanted = read(file)
    try:
        async with get_client() as client:
            await _ensure_pool(client)
            return [entry.name for entry in wanted if await _ensure(client, entry)]
    except PrefectHTTPStatusError as error:
        raise Invalid(f"Prefect refused it: {error.response.text[:500]}") from error
    except HTTP_ERRORS as error:
        raise Unavailable(f"The Prefect server did not answer ({type(error).__name__}); is it running?") from error


async def _ensure_pool(client: PrefectClient) -> None:
    template = YardmasterWorker.get_default_base_job_template()
    try:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type=POOL_TYPE, base_job_template=template))
    except ObjectAlreadyExists:
        return


async def _ensure(client: PrefectClient, entry: Deployment) -> bool:
    flow: Flow[Any, Any] = load_flow_from_entrypoint(entry.entrypoint, use_placeholder_flow=False)
    schema = parameter_schema(flow)
    version = version_of(entry, schema.model_dump_for_openapi())
    try:
        if (await client.read_deployment_by_name(f"{flow.name}/{entry.name}")).version == version:
            return False
    except ObjectNotFound:
        pass  # it is made below
    await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=entry.name,
        version=version,
        entrypoint=entry.entrypoint,
        description=entry.description,
        tags=entry.tags,
        parameters=entry.parameters,
        parameter_openapi_schema=schema.model_dump_for_openapi(),
        enforce_parameter_schema=True,
        schedules=[_scheduled(schedule) for schedule in entry.schedules],
        work_pool_name=entry.work_pool.name,
        pull_steps=[],
        paused=False,
    )
    return True


def _scheduled(schedule: Schedule) -> DeploymentScheduleCreate:
    cron = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    return DeploymentScheduleCreate(schedule=cron, active=schedule.active, slug=schedule.slug)


def version_of(entry: Deployment, schema: dict[str, Any]) -> str:
    """The hash of what makes a deployment: its entry in the file, and the form of its flow."""
    text = json.dumps([entry.model_dump(mode="json"), schema], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
