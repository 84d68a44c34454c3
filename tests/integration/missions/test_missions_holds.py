"""People hold robots, sites and fleets; what is under way ends, pauses or is cancelled, and goes on after the release."""

import pytest

from fleet.adapter import OrderStatus
from fleet.errors import Conflict, Invalid, NotFound
from missions import dispatch, holds, snapshot
from missions.holds import HoldScope
from missions.plan import plan

SITE = {"scope": "site", "robot": None, "site": "north"}
FLEET = {"scope": "fleet", "robot": None}


def test_a_held_robot_is_given_nothing_until_it_is_released(yard):
    mission = yard.request()
    held = yard.hold()
    assert yard.assign("amr-01") == []
    assert yard.view(mission).waiting_for.startswith("No robot is free: amr-01 is held by user:ops (a wheel squeaks)")
    yard.release(held)
    assert len(yard.assign("amr-01")) == 1


def test_the_other_robots_go_on(yard):
    yard.request()
    yard.hold()
    (attempt,) = yard.assign()
    assert attempt.robot_id == yard.world.robots["amr-02"].id


@pytest.mark.parametrize("scope", [SITE, FLEET])
def test_a_site_and_a_fleet_are_held_with_all_their_robots(yard, scope):
    yard.request()
    held = yard.hold(**scope)
    assert yard.assign() == []
    yard.release(held)
    assert len(yard.assign()) == 1


def test_a_hold_put_after_the_plan_was_made_is_seen_in_the_transaction_of_the_assignment(yard, runtime):
    mission = yard.request()
    yard.observe("amr-01")
    with runtime.reading() as session:
        seen = snapshot.take(session)
    made = plan(seen)
    assert len(made.assignments) == 1
    yard.hold()
    assert dispatch.carry_out(runtime.transaction, made, seen, who="test") == []
    assert (yard.status(mission), yard.leases()) == ("SCHEDULED", {})


def test_without_more_said_what_is_under_way_ends_by_itself(yard):
    mission, attempt = yard.running()
    yard.hold()
    assert (yard.view(mission).desired, yard.outbox()) == ("run", ["submit"])
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert yard.status(mission) == "SUCCEEDED"


def test_a_hold_that_pauses_lets_go_on_when_it_is_released(yard):
    mission, attempt = yard.running()
    held = yard.hold(meanwhile="pause")
    yard.send()
    yard.say(attempt, OrderStatus.paused, 3)
    assert (yard.status(mission), yard.view(mission).transitions[-1].who) == ("PAUSED", "robot:amr-01")
    yard.release(held)
    assert (yard.view(mission).desired, yard.outbox()) == ("run", ["submit", "pause", "resume"])
    yard.send()
    yard.say(attempt, OrderStatus.running, 4)
    assert yard.status(mission) == "RUNNING"


def test_what_a_person_paused_before_or_meanwhile_stays_paused_after_the_release(yard):
    mission, _ = yard.running()
    yard.command(mission, "pause")
    yard.release(yard.hold(meanwhile="pause"))
    assert yard.view(mission).desired == "pause"
    yard.command(mission, "resume")
    held = yard.hold(meanwhile="pause", key="h2")
    yard.command(mission, "pause")
    yard.release(held)
    assert yard.view(mission).desired == "pause"


def test_what_two_holds_pause_goes_on_when_both_are_released(yard):
    mission, _ = yard.running()
    first, second = yard.hold(meanwhile="pause"), yard.hold(**SITE, meanwhile="pause", key="h2")
    yard.release(first)
    assert yard.view(mission).desired == "pause"
    yard.release(second)
    assert yard.view(mission).desired == "run"


def test_a_mission_that_waits_for_another_try_is_let_go_on_too(yard, clock):
    mission, attempt = yard.running()
    held = yard.hold(meanwhile="pause")
    yard.say(attempt, OrderStatus.failed, 3)
    assert (yard.status(mission), yard.view(mission).desired) == ("SCHEDULED", "pause")
    yard.release(held)
    assert yard.view(mission).desired == "run"


def test_a_hold_that_cancels_ends_what_is_under_way_on_its_robots_only(yard):
    mission, attempt = yard.running()
    other = yard.request("other")
    yard.assign("amr-02")
    yard.hold(meanwhile="cancel")
    assert [yard.view(each).desired for each in (mission, other)] == ["cancel", "run"]
    yard.say(attempt, OrderStatus.canceled, 3)
    assert (yard.status(mission), yard.status(other)) == ("CANCELED", "ASSIGNED")


def test_putting_and_releasing_twice_is_harmless(yard):
    held = yard.hold()
    assert yard.hold().id == held.id
    assert yard.changes("hold") == ["put"]
    first, again = yard.release(held), yard.release(held)
    assert first == again
    assert again.released_by == "user:chief"
    assert yard.changes("hold") == ["put", "released"]
    assert yard.hold().released_at == first.released_at  # a request that comes late again holds nothing anew


def test_the_same_key_for_another_hold_is_refused(yard):
    yard.hold()
    with pytest.raises(Conflict, match=r"'h' is that of another hold of user:ops: it differs in robot, meanwhile\."):
        yard.hold(robot="amr-02", meanwhile="cancel")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"robot": None}, "A hold on a robot names a robot and nothing else; this one names neither robot nor site"),
        ({"site": "north"}, "names a robot and nothing else; this one names robot and site"),
        ({"scope": "site"}, "A hold on a site names a site and nothing else; this one names robot"),
        ({"scope": "fleet"}, "A hold on a fleet names neither robot nor site; this one names robot"),
    ],
)
def test_a_hold_that_does_not_say_clearly_what_is_held_is_refused(yard, wanted, sentence):
    with pytest.raises(Invalid, match=sentence):
        yard.hold(**wanted)


def test_unknown_names_and_another_organisations_holds_are_not_found(yard, runtime, world):
    with pytest.raises(NotFound, match="'amr-99'; known robots: amr-01, amr-02"):
        yard.hold(robot="amr-99")
    held = yard.hold()
    with pytest.raises(NotFound), runtime.transaction() as session:
        holds.release(session, organisation_id=world.site.id, hold_id=held.id, who="user:other")


def test_all_holds_of_a_robot_are_released_together_and_no_others(yard, runtime, world):
    yard.hold()
    yard.hold(key="h2")
    yard.hold(key="h3", robot="amr-02")
    yard.hold(key="h4", **FLEET)
    with runtime.transaction() as session:
        released = holds.release_all(
            session,
            organisation_id=world.organisation.id,
            scope=HoldScope.robot,
            subject_id=world.robots["amr-01"].id,
            who="user:chief",
        )
    assert [row.key for row in released] == ["h", "h2"]
    assert sorted(row.key for row in yard.holds() if row.released_at is None) == ["h3", "h4"]
