"""prefect.yaml: what operators see."""

import json
from pathlib import Path

import pytest
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from fleet.errors import Invalid
from orchestration.desk_requests import KINDS
from orchestration.pool import LATEST_ONLY, POOL
from orchestration.pool_deployments import FILE, Deployment, read, version_of

NAMES = [
    "request-mission",
    "request-round",
    "control-mission",
    "control-round",
    "approve-mission",
    "create-schedule",
    "control-schedule",
    "hold",
    "release-hold",
    "scheduled-round",
    "control-occurrence",
    "poll-manufacturer",
    "receive-webhooks",
    "process-bag",
    "cut-bag",
    "train-rul",
    "publish-report",
]
BY_ITSELF = {"scheduled-round"}  # made by the desk; nobody fills in its form
ESSENTIAL = {"mission", "round", "command", "when", "name", "schedule", "scope", "reason", "occurrence", "bag"}


@pytest.fixture(scope="module")
def deployments() -> dict[str, Deployment]:
    return {entry.name: entry for entry in read()}


@pytest.fixture(params=NAMES)
def flow(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Flow:
    return load_flow_from_entrypoint(deployments[request.param].entrypoint, use_placeholder_flow=False)


def test_there_is_one_deployment_for_everything_an_operator_wants(deployments: dict[str, Deployment]):
    assert list(deployments) == NAMES


def test_a_flow_is_called_like_its_deployment(flow: Flow):
    assert flow.name in NAMES


def test_every_flow_waits_without_holding_a_thread(flow: Flow):
    assert flow.isasync


def test_every_field_of_every_form_says_what_it_is(flow: Flow):
    fields = parameter_schema(flow).properties
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_no_form_needs_more_than_the_essential(flow: Flow):
    if flow.name not in BY_ITSELF:
        assert set(parameter_schema(flow).required) <= ESSENTIAL


def test_no_form_is_a_choice_between_forms(flow: Flow):
    text = json.dumps(parameter_schema(flow).model_dump())
    assert "discriminator" not in text
    assert "oneOf" not in text


def test_every_deployment_says_in_words_what_it_is_for(deployments: dict[str, Deployment]):
    assert [entry.name for entry in deployments.values() if len(entry.description) < 60] == []


def test_every_deployment_runs_in_our_pool(deployments: dict[str, Deployment]):
    assert {entry.work_pool.name for entry in deployments.values()} == {POOL}


def test_what_can_be_asked_for_by_a_request_is_deployed(deployments: dict[str, Deployment]):
    assert set(KINDS) <= set(deployments)


def test_what_runs_every_few_minutes_is_skipped_when_it_is_late(deployments: dict[str, Deployment]):
    often = {entry.name for entry in deployments.values() for schedule in entry.schedules if schedule.cron[0] == "*"}
    late = {entry.name for entry in deployments.values() if LATEST_ONLY in entry.tags}
    assert late == often == {"poll-manufacturer", "receive-webhooks"}


def test_a_deployment_keeps_its_version_until_it_changes(deployments: dict[str, Deployment]):
    entry = deployments["train-rul"]
    assert version_of(entry, {"a": 1}) == version_of(entry, {"a": 1})
    assert version_of(entry, {"a": 1}) != version_of(entry, {"a": 2})
    assert version_of(entry, {"a": 1}) != version_of(entry.model_copy(update={"tags": ["x"]}), {"a": 1})


def test_no_code_is_pulled_from_anywhere():
    assert "pull: []" in FILE.read_text()


@pytest.mark.parametrize("text", ["deployments: [{name: x}]", "deployments: {", "nothing: 1", "- 1"])
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str):
    file = tmp_path / "prefect.yaml"
    file.write_text(text)
    with pytest.raises(Invalid, match=r"prefect\.yaml is wrong"):
        read(file)
