"""The book of goals that an action server keeps, and the address of a DDS domain."""

from uuid import UUID, uuid4

import pytest

from fleet.adapters.ros2.dds_domain import address_of, resolved
from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.peer_goals import ALL, ALREADY_OVER, UNKNOWN_GOAL, Goals, nanoseconds, stamp
from fleet.errors import Invalid, Unavailable

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def goals() -> Goals:
    """Goal one has ended, goal two runs, goal three was just accepted."""
    goals = Goals(kept_s=900.0)
    for number, goal_id in enumerate((ONE, TWO, THREE), start=1):
        goals.accept(goal_id, number * 1000)
    goals.move(ONE, GoalStatus.succeeded, {"error_code": 0}, now_s=10.0)
    goals.move(TWO, GoalStatus.executing)
    return goals


@pytest.mark.parametrize(
    ("goal_id", "stamp_ns", "code", "meant"),
    [
        (TWO, 0, 0, [TWO]),
        (ONE, 0, ALREADY_OVER, []),
        (uuid4(), 0, UNKNOWN_GOAL, []),
        (ALL, 0, 0, [TWO, THREE]),
        (ALL, 2000, 0, [TWO]),
        (THREE, 2000, 0, [TWO, THREE]),
        (ALL, 1, 0, []),
    ],
)
def test_a_cancel_means_one_goal_or_those_up_to_an_instant_or_all(goals, goal_id, stamp_ns, code, meant):
    assert goals.asked_to_cancel(goal_id, stamp_ns) == (code, meant)


def test_over_is_over(goals):
    assert not goals.move(ONE, GoalStatus.aborted, {"error_code": 1})
    assert goals.result(ONE) == (GoalStatus.succeeded, {"error_code": 0})


def test_a_goal_that_is_being_cancelled_does_not_go_back_to_running(goals):
    assert goals.move(TWO, GoalStatus.canceling)
    assert not goals.move(TWO, GoalStatus.executing)
    assert goals.status(TWO) == GoalStatus.canceling


def test_a_result_is_asked_for_while_the_goal_runs_and_after_it_is_forgotten(goals):
    assert goals.result(TWO) is None
    assert not goals.forget(now_s=909.0)
    assert goals.forget(now_s=911.0)
    assert goals.result(ONE) == (GoalStatus.unknown, {})
    assert ONE not in goals


def test_the_status_list_names_every_remembered_goal_in_order(goals):
    assert [entry["status"] for entry in goals.status_list()] == [4, 2, 1]


def test_a_stamp_and_its_nanoseconds_are_each_others():
    assert stamp(1_795_227_014_705_000_123) == {"sec": 1_795_227_014, "nanosec": 705_000_123}
    assert nanoseconds(stamp(1_795_227_014_705_000_123)) == 1_795_227_014_705_000_123


def test_an_address_with_peers_is_without_multicast_and_on_loopback_when_they_are():
    address = address_of("dds://?domain=42&peers=127.0.0.1")

    assert (address.domain, address.peers, address.is_multicast) == (42, ("127.0.0.1",), False)
    assert '<NetworkInterface address="127.0.0.1"/>' in address.configuration()
    assert "<AllowMulticast>false</AllowMulticast>" in address.configuration()


def test_an_address_without_peers_looks_around_by_multicast_on_the_named_interface():
    address = address_of("dds://?domain=7&interface=eth0")

    assert '<NetworkInterface name="eth0"/>' in address.configuration()
    assert "<AllowMulticast>default</AllowMulticast>" in address.configuration()
    assert "<Peers>" not in address.configuration()


def test_an_interface_may_hold_what_xml_reserves():
    assert 'name="a&lt;b&amp;c"' in address_of("dds://?interface=a%3Cb%26c").configuration()


def test_a_peer_is_looked_up_before_cyclone_sees_it_which_would_end_the_process():
    address = resolved(address_of("dds://?peers=localhost,10.0.0.7"))

    assert address.peers == ("127.0.0.1", "10.0.0.7")
    with pytest.raises(Unavailable, match=r"'no-such-host\.invalid' cannot be found"):
        resolved(address_of("dds://?peers=no-such-host.invalid"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://robot", "no address of a DDS domain"),
        ("dds://robot?domain=1", "no address of a DDS domain"),
        ("dds://?domain=233", "domain is '233'"),
        ("dds://?domain=one", "domain is 'one'"),
        ("dds://?participants=500", "participants is '500'"),
        ("dds://?multicast=maybe", "write on or off"),
        ("dds://?peers=10.0.0.7:7400", "'10.0.0.7:7400' in .* is no peer"),
        ("dds://?peers=::1", "is no peer"),
        ("dds://?peers=a<b", "is no peer"),
        ("dds://?port=7", "knows domain, peers, interface, multicast, participants"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(url, why):
    with pytest.raises(Invalid, match=why):
        address_of(url)
