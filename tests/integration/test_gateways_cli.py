"""The command line of gateways, accounts and links, on the small world."""

import json
from pathlib import Path

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from deployments.cli.app import app
from fleet.errors import Conflict, Invalid, NotFound
from fleet.gateways import gateway_named
from fleet.organisations import principal_of
from fleet.runtime import Runtime
from missions.create import create
from missions.models import Attempt, MissionCreate, TaskCreate


@pytest.fixture
def yardmaster(runtime: Runtime, world):
    """Runs one command for the organisation of the test; gives what it printed, or raises what it raised."""

    def run(*arguments: str) -> str:
        given = ["--var", str(runtime.settings.var_dir), *arguments]
        done = CliRunner().invoke(app, given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


ACME = ("--organisation", "acme")


@pytest.fixture
def account(yardmaster, tmp_path: Path) -> str:
    """A ROS 2 account with options."""
    options = tmp_path / "options.json"
    options.write_text('{"distro": "jazzy"}')
    url = ("--url", "dds://?domain=42", "--options", str(options))
    yardmaster("accounts", "add", "yard robots", "--manufacturer", "ros2", *url, *ACME)
    return "yard robots"


def test_an_account_is_listed_without_its_secrets(yardmaster, account):
    listed = json.loads(yardmaster("accounts", "list", *ACME, "--json"))
    assert [(one["name"], one["manufacturer"], one["options"]) for one in listed] == [
        ("cloud", "simulated", {}),
        ("yard robots", "ros2", {"distro": "jazzy"}),
    ]
    assert all("credential" not in one and "webhook_secret" not in one for one in listed)


def test_an_account_is_changed(yardmaster, account):
    yardmaster("accounts", "set", account, "--url", "dds://?domain=43", *ACME)
    listed = json.loads(yardmaster("accounts", "list", *ACME, "--json"))
    assert listed[1]["base_url"] == "dds://?domain=43"
    assert listed[1]["options"] == {"distro": "jazzy"}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            ["accounts", "add", "x", "--manufacturer", "acme-bots", "--url", "x"],
            Invalid,
            "no adapter 'acme-bots'; known",
        ),
        (["accounts", "add", "cloud", "--manufacturer", "ros2", "--url", "x"], Conflict, "'cloud' already"),
        (["accounts", "set", "nobody", "--url", "x"], NotFound, "known accounts: cloud"),
        (["gateways", "add", "north", "--site", "north", "--account", "cloud"], Invalid, "which no gateway serves"),
        (["gateways", "add", "north", "--site", "moon", "--account", "cloud"], Invalid, "which no gateway serves"),
        (["gateways", "show", "nobody"], NotFound, "known gateways: none"),
        (["robots", "show", "nobody"], NotFound, "no robot 'nobody'"),
        (["robots", "probe", "amr-01"], Invalid, "is a cloud"),
        (["robots", "link", "amr-01", "--account", "cloud"], Invalid, "is a cloud"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(yardmaster, arguments, error, words):
    with pytest.raises(error, match=words):
        yardmaster(*arguments, *ACME)


def test_a_gateway_gets_a_token_that_opens_and_is_written_for_its_owner_only(runtime, yardmaster, account, tmp_path):
    file = tmp_path / "north.token"
    said = yardmaster(
        "gateways", "add", "north", "--site", "north", "--account", account, "--token-file", str(file), *ACME
    )
    token = file.read_text().strip()
    assert token not in said
    assert file.stat().st_mode & 0o077 == 0
    with runtime.reading() as session:
        assert principal_of(session, token) is not None


def test_gateways_are_listed_and_shown(yardmaster, account):
    yardmaster("gateways", "add", "north", "--site", "north", "--account", account, *ACME)
    (listed,) = json.loads(yardmaster("gateways", "list", *ACME, "--json"))
    shown = json.loads(yardmaster("gateways", "show", "north", *ACME, "--json"))
    assert (listed["name"], listed["accounts"], listed["is_there"]) == ("north", [account], False)
    assert shown["links"] == []
    assert "north" in yardmaster("gateways", "list", *ACME)


def test_a_revoked_gateway_may_be_let_in_again_with_another_token(runtime, world, yardmaster, account):
    given = ("gateways", "add", "north", "--site", "north", "--account", account, *ACME)
    yardmaster(*given)
    yardmaster("gateways", "revoke", "north", *ACME)
    with pytest.raises(Conflict, match="'north' already"):
        yardmaster(*given)
    yardmaster(*given, "--again")
    with runtime.reading() as session:
        assert gateway_named(session, world.organisation.id, "north").revoked_at is None


def test_a_robot_is_linked_and_shown_with_the_reason_why_nothing_would_arrive(yardmaster, account):
    yardmaster("robots", "link", "amr-01", "--account", account, "--address", "/amr_01", *ACME)
    shown = json.loads(yardmaster("robots", "show", "amr-01", *ACME, "--json"))
    assert (shown["account"], shown["address"], shown["gateway"]) == (account, "/amr_01", None)
    assert shown["refusals"] == ["It is out of reach (no gateway has ever held it)."]
    assert "out of reach" in yardmaster("robots", "show", "amr-01", *ACME)
    yardmaster("robots", "link", "amr-01", "--account", "", *ACME)
    shown = json.loads(yardmaster("robots", "show", "amr-01", *ACME, "--json"))
    assert (shown["account"], shown["address"], shown["refusals"]) == ("cloud", "SN-amr-01", [])


def test_a_robot_with_an_order_under_way_is_not_linked_elsewhere(runtime, world, yardmaster, account):
    robot, now = world.robots["amr-01"], runtime.clock.now()
    with runtime.transaction() as session:
        wanted = MissionCreate(name="m", key="m", tasks=[TaskCreate(kind="go_to", station="gate")])
        mission = create(session, site=world.site, wanted=wanted, who="user:ops")
        fields = {"organisation_id": world.organisation.id, "robot_id": robot.id, "created_at": now}
        session.add(Attempt(mission_id=mission.id, number=1, key=f"{mission.id}/1", fence=1, **fields))
    given = ("robots", "link", "amr-01", "--account", account, *ACME)
    with pytest.raises(Conflict, match=r"has the order .*/1 over its present link"):
        yardmaster(*given)
    with runtime.transaction() as session:
        session.exec(select(Attempt)).one().finished_at = now
    yardmaster(*given)


def test_discovering_without_a_gateway_says_that_none_is_there(yardmaster, account):
    (found,) = json.loads(yardmaster("robots", "discover", *ACME, "--json"))
    assert found["account"] == account
    assert "no gateway that serves this account is there now" in found["problem"]
