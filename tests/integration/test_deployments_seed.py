"""Seeding: everything a first start needs, and nothing twice; the schema says when it is not up to date."""

import pytest
from sqlmodel import Session, func, select

from deployments.schema import check, damage
from deployments.seed import seed
from fleet.accounts import ManufacturerAccount
from fleet.adapters.simulated.site_map import SITE_MAP, robots
from fleet.database import open_engine
from fleet.errors import Unavailable
from fleet.organisations import AccessToken, Organisation, PrincipalKind, Station, principal_of
from fleet.robots import Robot

URL = "http://127.0.0.1:8100"


@pytest.fixture
def planted(runtime):
    """The access that a first seed gives."""
    with runtime.transaction() as session:
        return seed(session, now=runtime.clock.now(), site_url=URL, robots=robots(4), known=None)


@pytest.fixture
def count(runtime):
    """How many rows a table has."""

    def of(table: type) -> int:
        with runtime.reading() as session:
            return session.exec(select(func.count()).select_from(table)).one()

    return of


def test_a_seed_makes_two_organisations_a_site_with_its_stations_and_four_robots(planted, count):
    assert (count(Organisation), count(Station), count(Robot), count(ManufacturerAccount)) == (2, len(SITE_MAP), 4, 1)


def test_seeding_again_changes_nothing_and_keeps_every_token(runtime, planted, count):
    with runtime.transaction() as session:
        again = seed(session, now=runtime.clock.now(), site_url=URL, robots=robots(4), known=planted)
    assert again == planted
    assert (count(Organisation), count(Station), count(Robot), count(AccessToken)) == (2, len(SITE_MAP), 4, 4)


def test_a_site_that_moved_to_another_port_is_followed(runtime, planted):
    with runtime.transaction() as session:
        seed(session, now=runtime.clock.now(), site_url="http://127.0.0.1:9999", robots=robots(4), known=planted)
        assert session.exec(select(ManufacturerAccount.base_url)).one() == "http://127.0.0.1:9999"


def test_a_larger_fleet_adds_only_the_new_robots(runtime, planted, count):
    with runtime.transaction() as session:
        seed(session, now=runtime.clock.now(), site_url=URL, robots=robots(6), known=planted)
    assert count(Robot) == 6


def test_each_token_opens_the_door_of_its_own_principal(runtime, planted):
    with runtime.reading() as session:
        kinds = {
            name: principal_of(session, getattr(planted, name)).kind
            for name in ("operator_token", "device_token", "customer_token")
        }
        stranger = principal_of(session, planted.other_customer_token)
    assert kinds == {
        "operator_token": PrincipalKind.user,
        "device_token": PrincipalKind.device,
        "customer_token": PrincipalKind.customer,
    }
    assert stranger.organisation_id != planted.organisation_id


def test_a_token_that_was_revoked_or_lost_is_issued_anew(runtime, planted):
    lost = planted.model_copy(update={"customer_token": "ym_forgotten"})
    with runtime.transaction() as session:
        again = seed(session, now=runtime.clock.now(), site_url=URL, robots=robots(4), known=lost)
        assert again.customer_token not in {"ym_forgotten", planted.customer_token}
        assert principal_of(session, again.customer_token) is not None


def test_the_secrets_of_the_account_are_made_once_and_differ_between_installations(
    runtime, planted, settings, tmp_path
):
    assert planted.webhook_secret.startswith("whsec_")
    assert len(planted.credential) >= 24


def test_a_migrated_database_passes_the_check_and_is_undamaged(runtime):
    check(runtime.engine)
    assert damage(runtime.engine) == []


def test_a_database_without_tables_says_which_command_to_run(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(Unavailable, match=r"revision none, this program needs \d+.*yardmaster db migrate"):
        check(engine)
    engine.dispose()


def test_a_dangling_reference_is_found(runtime, planted):
    with Session(runtime.engine) as session:
        connection = session.connection().connection
        connection.commit()
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM organisations WHERE name = 'other'")
        connection.commit()
        connection.execute("PRAGMA foreign_keys = ON")
    assert any("access_tokens" in line for line in damage(runtime.engine))
