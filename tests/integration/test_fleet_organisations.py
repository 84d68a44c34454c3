"""Organisations, tokens and robots: names are looked up within one organisation, and a token is kept only as a hash."""

import pytest
from sqlmodel import select

from fleet.errors import NotFound
from fleet.organisations import (
    AccessToken,
    Organisation,
    Principal,
    PrincipalKind,
    issue_token,
    organisation_named,
    principal_of,
    site_named,
    stations_of,
)
from fleet.robots import robot_named, robots_by_serial
from fleet.runtime import Runtime


@pytest.fixture
def stranger(runtime: Runtime, clock) -> Organisation:
    with runtime.transaction() as session:
        organisation = Organisation(name="stranger", created_at=clock.now())
        session.add(organisation)
    return organisation


def _issue(runtime: Runtime, principal: Principal) -> str:
    with runtime.transaction() as session:
        return issue_token(session, principal, now=runtime.clock.now())


def test_a_token_names_its_principal(runtime: Runtime, world):
    token = _issue(runtime, Principal(PrincipalKind.customer, "shop", world.organisation.id))
    with runtime.reading() as session:
        assert principal_of(session, token) == Principal(PrincipalKind.customer, "shop", world.organisation.id)


def test_the_text_of_a_token_is_not_kept(runtime: Runtime, world):
    token = _issue(runtime, world.operator)
    with runtime.reading() as session:
        kept = session.exec(select(AccessToken)).one()
    assert token not in str(kept.model_dump())


@pytest.mark.parametrize("spoil", [lambda token: token + "x", lambda token: token[:-1], lambda _token: ""])
def test_a_token_that_is_off_by_anything_is_nobody(runtime: Runtime, world, spoil):
    token = spoil(_issue(runtime, world.operator))
    with runtime.reading() as session:
        assert principal_of(session, token) is None


def test_a_revoked_token_is_nobody(runtime: Runtime, world):
    token = _issue(runtime, world.operator)
    with runtime.transaction() as session:
        row = session.exec(select(AccessToken)).one()
        row.revoked_at = runtime.clock.now()
        session.add(row)
    with runtime.reading() as session:
        assert principal_of(session, token) is None


def test_an_unknown_organisation_is_told_by_name(runtime: Runtime):
    with runtime.reading() as session, pytest.raises(NotFound, match="nobody"):
        organisation_named(session, "nobody")


def test_an_unknown_site_is_told_with_the_known_ones(runtime: Runtime, world):
    with runtime.reading() as session, pytest.raises(NotFound, match=r"south.*known sites: north"):
        site_named(session, world.organisation.id, "south")


def test_the_site_of_another_organisation_is_not_seen(runtime: Runtime, world, stranger):
    with runtime.reading() as session, pytest.raises(NotFound, match="known sites: none"):
        site_named(session, stranger.id, "north")


def test_stations_are_found_by_name(runtime: Runtime, world):
    with runtime.reading() as session:
        assert sorted(stations_of(session, world.site.id)) == ["dock-1", "gate", "press-1", "press-2"]


def test_an_unknown_robot_is_told_with_the_known_ones(runtime: Runtime, world):
    with runtime.reading() as session, pytest.raises(NotFound, match=r"amr-99.*amr-01, amr-02"):
        robot_named(session, world.organisation.id, "amr-99")


def test_the_robot_of_another_organisation_is_not_seen(runtime: Runtime, world, stranger):
    with runtime.reading() as session, pytest.raises(NotFound):
        robot_named(session, stranger.id, "amr-01")


def test_robots_are_found_by_serial_number_in_one_question(runtime: Runtime, world):
    with runtime.reading() as session:
        found = robots_by_serial(session, world.account.id, {"SN-amr-01", "SN-none"})
    assert [(serial, robot.name) for serial, robot in found.items()] == [("SN-amr-01", "amr-01")]
