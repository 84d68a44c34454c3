"""Gateways and links over HTTP: what an organisation sees of its own, and nothing of others."""

import pytest

from fleet import gateways
from fleet.organisations import Organisation
from fleet.push import Endpoint, Exposure
from fleet.robots import Robot
from fleet.runtime import Runtime


@pytest.fixture
def gateway(runtime: Runtime, world):
    """A gateway that has dialled in and holds both robots, one of which has told what it exposes."""
    now = runtime.clock.now()
    with runtime.transaction() as session:
        account = session.get_one(type(world.account), world.account.id)
        account.manufacturer = "ros2"
        row, _ = gateways.add_gateway(session, world.site, "north", [account], now=now)
        gateways.hold(session, row.id, gateways.dial_in(session, row, journal="j", version="1"))
        endpoint = Endpoint(
            name="/go", kind="action", type="nav2_msgs/action/NavigateToPose", qos={"reliability": "reliable"}
        )
        said = Exposure(serial_number="SN-amr-01", link="dds", endpoints=(endpoint,), refusals=("It is Fast DDS.",))
        robots = gateways.robots_at(session, row.id)
        gateways.note_exposed(session, gateway_id=row.id, robots=robots, told=[(account.id, said)])
    return row


def test_gateways_are_listed(operator, gateway):
    (shown,) = operator.get("/v1/gateways").json()["items"]
    assert (shown["name"], shown["site"], shown["accounts"], shown["is_there"], shown["robots"]) == (
        "north",
        "north",
        ["cloud"],
        True,
        2,
    )


def test_how_a_robot_is_reached_is_told(operator, world, gateway):
    shown = operator.get(f"/v1/robots/{world.robots['amr-01'].id}/link").json()
    assert (shown["gateway"], shown["is_held"], shown["epoch"], shown["link"]) == ("north", True, 1, "dds")
    assert shown["endpoints"][0]["qos"] == {"reliability": "reliable"}
    assert shown["refusals"] == ["It is Fast DDS."]


def test_a_robot_whose_gateway_is_away_is_shown_so(operator, world, gateway, clock):
    clock.step(gateways.LEASE_S)
    shown = operator.get(f"/v1/robots/{world.robots['amr-02'].id}/link").json()
    assert (shown["is_held"], shown["refusals"]) == (False, ["It is out of reach (its gateway north is away)."])
    listed = operator.get("/v1/robots").json()["items"]
    assert {one["out_of_reach"] for one in listed} == {"out of reach (its gateway north is away)"}


def test_nobody_sees_gateways_or_links_of_others(runtime: Runtime, client_of, world, gateway):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
        session.flush()
    stranger = client_of("user", other.id)
    assert stranger.get("/v1/gateways").json()["items"] == []
    assert stranger.get(f"/v1/robots/{world.robots['amr-01'].id}/link").status_code == 404


def test_a_mission_says_that_its_robots_are_out_of_reach(operator, runtime: Runtime, world, gateway, clock):
    clock.step(gateways.LEASE_S)
    with runtime.transaction() as session:
        for robot in world.robots.values():
            assert session.get_one(Robot, robot.id).commanded_over == world.account.id
    wanted = {"site": "north", "name": "m", "key": "m", "tasks": [{"kind": "go_to", "station": "gate"}]}
    mission = operator.post("/v1/missions", json=wanted).json()["id"]
    told = operator.get(f"/v1/missions/{mission}").json()["waiting_for"]
    assert "amr-01 is out of reach (its gateway north is away)" in told
