"""Seeding: everything a first start needs, and nothing twice; the schema says when it is not up to date."""

import pytest
from sqlmodel import Session, col, func, select

from deployments.access import Access
from deployments.links import Links
from deployments.schema import check, damage
from deployments.seed import seed
from deployments.seed_links import GATEWAY, ROS2_ACCOUNT
from fleet.accounts import ManufacturerAccount
from fleet.adapters.simulated.site_map import SITE_MAP, robots
from fleet.database import open_engine
from fleet.errors import Unavailable
from fleet.gateways import accounts_of, assign, gateway_named, gateway_of
from fleet.organisations import AccessToken, Organisation, PrincipalKind, Station, principal_of
from fleet.robots import COMMANDED_OVER, Robot

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


@pytest.fixture
def plant(runtime):
    """Seeds with links; again takes what the seed before gave."""

    def seeded(links: Links, known: Access | None = None, count: int = 4) -> Access:
        with runtime.transaction() as session:
            wanted = robots(count)
            return seed(session, now=runtime.clock.now(), site_url=URL, robots=wanted, known=known, links=links)

    return seeded


@pytest.fixture
def ways(runtime):
    """How each robot is commanded: the manufacturer of the account, its address there."""

    def of() -> dict[str, tuple[str, str]]:
        query = select(Robot, ManufacturerAccount).join(
            ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER
        )
        with runtime.reading() as session:
            rows = session.exec(query).all()
            return {robot.name: (account.manufacturer, robot.address) for robot, account in rows}

    return of


def test_with_a_domain_every_robot_is_commanded_over_ros_2_and_keeps_its_cloud(runtime, plant, ways):
    access = plant(Links(42))
    assert ways() == {f"amr-0{n}": ("ros2", f"/amr_0{n}") for n in range(1, 5)}
    with runtime.reading() as session:
        assert set(session.exec(select(Robot.account_id)).all()) == {access.account_id}


def test_with_a_broker_the_last_robot_is_commanded_over_vda_5050(plant, ways):
    plant(Links(42, "mqtt://127.0.0.1:1883"))
    assert ways()["amr-04"] == ("vda5050", "simulated/SIM-0004")
    assert {ways()[name][0] for name in ("amr-01", "amr-02", "amr-03")} == {"ros2"}


def test_a_broker_that_is_gone_leaves_no_robot_out_of_reach(plant, ways):
    access = plant(Links(42, "mqtt://127.0.0.1:1883"))
    plant(Links(43), access)
    assert ways()["amr-04"] == ("ros2", "/amr_04")


def test_the_only_robot_of_a_site_speaks_ros_2(plant, ways):
    plant(Links(42, "mqtt://127.0.0.1:1883"), count=1)
    assert ways() == {"amr-01": ("ros2", "/amr_01")}


def test_a_domain_that_changed_is_followed_and_the_gateway_keeps_its_token(runtime, plant):
    access = plant(Links(42))
    again = plant(Links(43), access)
    assert again.gateway_token == access.gateway_token
    with runtime.reading() as session:
        urls = session.exec(select(ManufacturerAccount.base_url)).all()
        assert gateway_of(session, principal_of(session, again.gateway_token)).name == GATEWAY
    assert [url for url in urls if url.startswith("dds:")] == [Links(43).ros2_url]


def test_a_gateway_that_lost_its_token_is_given_another(runtime, plant):
    access = plant(Links(42))
    again = plant(Links(42), access.model_copy(update={"gateway_token": "ym_forgotten"}))
    with runtime.reading() as session:
        assert principal_of(session, access.gateway_token) is None
        assert gateway_of(session, principal_of(session, again.gateway_token)).name == GATEWAY


def test_accounts_that_a_person_gave_the_gateway_are_still_its_own_after_the_next_start(runtime, plant):
    access = plant(Links(42))
    with runtime.transaction() as session:
        organisation_id = access.organisation_id
        own = ManufacturerAccount(
            organisation_id=organisation_id, name="own", manufacturer="ros2", base_url="dds://?domain=0",
            webhook_secret="whsec_MA==", created_at=runtime.clock.now(),
        )  # fmt: skip
        session.add(own)
        session.flush()
        gateway = gateway_named(session, organisation_id, GATEWAY)
        assign(session, gateway, [*accounts_of(session, gateway.id), own])
    plant(Links(42), access)
    with runtime.reading() as session:
        gateway = gateway_named(session, access.organisation_id, GATEWAY)
        assert {one.name for one in accounts_of(session, gateway.id)} == {"own", ROS2_ACCOUNT}


def test_a_seed_without_links_leaves_those_that_are_there(runtime, plant, ways):
    access = plant(Links(42))
    with runtime.transaction() as session:
        seed(session, now=runtime.clock.now(), site_url=URL, robots=robots(4), known=access)
    assert ways()["amr-01"] == ("ros2", "/amr_01")


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
