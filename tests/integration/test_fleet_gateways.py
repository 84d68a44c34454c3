"""Gateways' rows: who holds a robot and until when, who may speak, what is still to be asked."""

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event, text, update
from sqlmodel import select

from fleet import gateways, link_commands
from fleet.accounts import ManufacturerAccount
from fleet.clock import SteppableClock, database_now
from fleet.errors import Conflict, Forbidden
from fleet.gateways import LEASE_S, Gateway, RobotLink
from fleet.link_commands import LinkCommand
from fleet.organisations import Principal, PrincipalKind, principal_of
from fleet.push import Endpoint, Exposure, Heard, Hearing
from fleet.robots import Robot, robots_by_serial
from fleet.runtime import Runtime


@pytest.fixture(params=["runtime", pytest.param("postgres_runtime", marks=pytest.mark.proof)])
def here(request) -> Runtime:
    """The platform's database, on both kinds."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def place(request, here: Runtime):
    """The small world in it."""
    return request.getfixturevalue("world" if here.engine.dialect.name == "sqlite" else "postgres_world")


@pytest.fixture
def account(here: Runtime, place) -> ManufacturerAccount:
    """A push account over which both robots are commanded."""
    with here.transaction() as session:
        row = ManufacturerAccount(
            organisation_id=place.organisation.id,
            name="dds",
            manufacturer="ros2",
            base_url="dds://?domain=42",
            webhook_secret="",
            created_at=here.clock.now(),
        )
        session.add(row)
        session.flush()
        for robot in place.robots.values():
            linked = session.get_one(Robot, robot.id)
            linked.link_account_id, linked.link_address = row.id, f"/{robot.name}"
            session.add(linked)
    return row


@pytest.fixture
def add(here: Runtime, place, account):
    """Makes a gateway that serves the account; gives it with its token."""

    def run(name: str) -> tuple[Gateway, str]:
        with here.transaction() as session:
            return gateways.add_gateway(session, place.site, name, [account], now=here.clock.now())

    return run


@pytest.fixture
def dial(here: Runtime):
    """The gateway dials in; gives its epoch."""

    def run(gateway: Gateway) -> int:
        with here.transaction() as session:
            return gateways.dial_in(session, gateway, journal="j", version="1")

    return run


@pytest.fixture
def hold(here: Runtime):
    """The gateway's connection of this epoch breathes; gives the addresses that it holds, with their epochs."""

    def run(gateway: Gateway, epoch: int) -> dict[str, int]:
        with here.transaction() as session:
            return {held.address: held.epoch for held in gateways.hold(session, gateway.id, epoch)}

    return run


def _away(runtime: Runtime, place) -> list[str]:
    with runtime.reading() as session:
        return sorted(gateways.out_of_reach(session, {place.organisation.id}, database_now(session)).values())


def test_a_gateway_takes_every_robot_of_its_accounts(add, dial, hold):
    gateway, _ = add("north")
    assert hold(gateway, dial(gateway)) == {"/amr-01": 1, "/amr-02": 1}


def test_another_gateway_has_nothing_while_the_first_breathes(add, dial, hold, clock: SteppableClock):
    one, other = add("one")[0], add("other")[0]
    first, second = dial(one), dial(other)
    hold(one, first)
    for _ in range(4):
        clock.step(LEASE_S - 1)
        hold(one, first)
        assert hold(other, second) == {}


def test_another_gateway_takes_over_with_a_higher_epoch_when_the_lease_is_over(add, dial, hold, clock: SteppableClock):
    one, other = add("one")[0], add("other")[0]
    first, second = dial(one), dial(other)
    hold(one, first)
    clock.step(LEASE_S)
    assert hold(other, second) == {"/amr-01": 2, "/amr-02": 2}
    assert hold(one, first) == {}


@pytest.mark.proof
@pytest.mark.parametrize("here", ["postgres_runtime"], indirect=True)
def test_of_two_gateways_that_take_new_robots_at_once_one_holds_them_and_the_other_is_told_so(here, add, dial, hold):
    one, other = add("one")[0], add("other")[0]
    first, second = dial(one), dial(other)
    with ThreadPoolExecutor(1) as beside:
        with here.transaction() as session:
            mine = {held.address for held in gateways.hold(session, one.id, first)}
            theirs = beside.submit(hold, other, second)
            _until_somebody_waits(here, theirs)
        assert (mine, theirs.result(10)) == ({"/amr-01", "/amr-02"}, {})
    assert hold(one, first) == {"/amr-01": 1, "/amr-02": 1}


def _until_somebody_waits(here: Runtime, asked: Future) -> None:
    while not asked.done():
        with here.reading() as session:
            if session.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted")).first() is not None:
                return


@pytest.mark.proof
@pytest.mark.parametrize("here", ["postgres_runtime"], indirect=True)
def test_who_takes_robots_over_waits_for_who_tells_of_them_and_neither_holds_the_other_up(
    here, place, account, add, dial, hold, clock
):
    event.listen(here.engine, "begin", _go_through_tables_as_they_lie)
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    second = dial(other)
    with here.transaction() as session:  # written anew, the first lies behind the second in both tables
        session.execute(update(Robot).where(Robot.id == place.robots["amr-01"].id).values(name="amr-01"))
        _tell(session, here, account, one, ["/amr-01"])
    clock.step(LEASE_S)
    with ThreadPoolExecutor(1) as beside:
        with here.transaction() as session:
            _tell(session, here, account, one, ["/amr-01"])
            taken = beside.submit(hold, other, second)
            _until_somebody_waits(here, taken)
            _tell(session, here, account, one, ["/amr-02"])
        assert taken.result(10) == {"/amr-01": 2, "/amr-02": 2}


def _go_through_tables_as_they_lie(connection) -> None:
    for way in ("indexscan", "bitmapscan", "nestloop"):
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")


@pytest.mark.proof
@pytest.mark.parametrize("here", ["postgres_runtime"], indirect=True)
def test_two_who_tell_of_the_same_robots_in_another_order_do_not_hold_each_other_up(here, account, add, dial, hold):
    gateway, _ = add("north")
    hold(gateway, dial(gateway))

    def tell(addresses: list[str]) -> None:
        with here.transaction() as session:
            _tell(session, here, account, gateway, addresses)

    with ThreadPoolExecutor(1) as beside:
        with here.transaction() as session:
            _tell(session, here, account, gateway, ["/amr-01"])
            later = beside.submit(tell, ["/amr-02", "/amr-01"])
            _until_somebody_waits(here, later)
            _tell(session, here, account, gateway, ["/amr-02"])
        later.result(10)


def _tell(session, here: Runtime, account, gateway: Gateway, addresses: list[str]) -> None:
    heard = [Heard(serial_number=one, hearing=Hearing.well, since=here.clock.now(), why="") for one in addresses]
    robots = gateways.robots_at(session, gateway.id)
    told = [(account.id, one) for one in heard]
    gateways.note_heard(session, gateway_id=gateway.id, robots=robots, told=told)


def test_a_gateway_that_leaves_in_good_order_frees_its_robots_at_once(here, add, dial, hold):
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    with here.transaction() as session:
        gateways.free(session, one.id)
    assert hold(other, dial(other)) == {"/amr-01": 2, "/amr-02": 2}


def test_an_older_connection_of_a_gateway_is_refused(add, dial, hold):
    gateway, _ = add("north")
    older = dial(gateway)
    dial(gateway)
    with pytest.raises(Conflict, match="dialled in anew"):
        hold(gateway, older)


def test_a_revoked_gateway_is_refused_and_its_token_opens_nothing(here, add, dial, hold):
    gateway, token = add("north")
    epoch = dial(gateway)
    with here.transaction() as session:
        gateways.revoke(session, session.get_one(Gateway, gateway.id), now=here.clock.now())
    with pytest.raises(Forbidden, match="was revoked"):
        hold(gateway, epoch)
    with here.reading() as session:
        assert principal_of(session, token) is None


def test_a_renewed_token_opens_and_the_one_before_does_not(here, add):
    gateway, before = add("north")
    with here.transaction() as session:
        row = session.get_one(Gateway, gateway.id)
        gateways.revoke(session, row, now=here.clock.now())
        now = gateways.renew_token(session, row, now=here.clock.now())
    with here.reading() as session:
        assert principal_of(session, before) is None
        principal = principal_of(session, now)
        assert principal is not None
        assert gateways.gateway_of(session, principal).id == gateway.id


def test_only_the_token_of_a_gateway_names_one(here, place):
    with here.reading() as session:
        device = Principal(PrincipalKind.device, "somebody", place.organisation.id)
        assert gateways.gateway_of(session, device) is None


def test_a_second_gateway_of_the_same_name_is_a_conflict(add):
    add("north")
    with pytest.raises(Conflict, match="'north' already"):
        add("north")


def test_robots_are_out_of_reach_until_a_gateway_holds_and_hears_them(here, place, add, dial, hold, clock):
    assert _away(here, place) == ["out of reach (no gateway has ever held it)"] * 2
    gateway, _ = add("north")
    hold(gateway, dial(gateway))
    assert _away(here, place) == []
    clock.step(LEASE_S)
    assert _away(here, place) == ["out of reach (its gateway north is away)"] * 2


@pytest.mark.parametrize(
    ("hearing", "words"),
    [
        (Hearing.silent, "silent at gateway north: no word for 9 s"),
        (Hearing.trouble, "network trouble at gateway north"),
    ],
)
def test_a_robot_that_its_gateway_does_not_hear_is_out_of_reach(here, place, account, add, dial, hold, hearing, words):
    gateway, _ = add("north")
    hold(gateway, dial(gateway))
    heard = Heard(serial_number="/amr-01", hearing=hearing, since=here.clock.now(), why="no word for 9 s")
    with here.transaction() as session:
        robots = gateways.robots_at(session, gateway.id)
        gateways.note_heard(session, gateway_id=gateway.id, robots=robots, told=[(account.id, heard)])
    (told,) = _away(here, place)
    assert words in told


def test_what_a_robot_exposes_is_kept_with_its_digest_and_without_what_no_database_keeps(
    here, place, account, add, dial, hold
):
    gateway, _ = add("north")
    hold(gateway, dial(gateway))
    endpoint = Endpoint(name="/go\0", kind="action", type="nav2_msgs/action/NavigateToPose")
    exposure = Exposure(serial_number="/amr-01", link="dds", endpoints=(endpoint,))
    with here.transaction() as session:
        robots = gateways.robots_at(session, gateway.id)
        gateways.note_exposed(session, gateway_id=gateway.id, robots=robots, told=[(account.id, exposure)])
    with here.reading() as session:
        row = session.get_one(RobotLink, place.robots["amr-01"].id)
        assert row.digest == exposure.digest
        assert row.exposure["endpoints"][0]["name"] == "/go\ufffd"


def test_a_robot_is_found_by_the_names_of_both_its_accounts(here, place, account):
    with here.reading() as session:
        assert list(robots_by_serial(session, place.account.id, {"SN-amr-01", "/amr-01"})) == ["SN-amr-01"]
        assert list(robots_by_serial(session, account.id, {"SN-amr-01", "/amr-01"})) == ["/amr-01"]


def _ask(here: Runtime, place, account, *, age_s: float = 0.0, kind: str = "query", key: str = "") -> LinkCommand:
    now = here.clock.now() - timedelta(seconds=age_s)
    row = LinkCommand(
        organisation_id=place.organisation.id,
        account_id=account.id,
        robot_id=place.robots["amr-01"].id,
        kind=link_commands.CommandKind(kind),
        serial_number="/amr-01",
        key=key,
        order_json={"key": key} if kind == "submit" else None,
        created_at=now,
        expires_at=now + timedelta(seconds=link_commands.COMMAND_S),
    )
    with here.transaction() as session:
        session.add(row)
    return row


def _open(here: Runtime, gateway: Gateway) -> list:
    with here.reading() as session:
        return [command.id for _, command in link_commands.open_commands(session, [gateway.id])]


def test_a_command_goes_to_the_gateway_that_holds_the_robot_and_to_no_other(here, place, account, add, dial, hold):
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    hold(other, dial(other))
    command = _ask(here, place, account)
    assert (_open(here, one), _open(here, other)) == ([command.id], [])


def test_a_command_that_is_answered_or_too_old_goes_nowhere(here, place, account, add, dial, hold):
    gateway, _ = add("north")
    hold(gateway, dial(gateway))
    _ask(here, place, account, age_s=link_commands.COMMAND_S)
    command = _ask(here, place, account)
    with here.transaction() as session:
        link_commands.answer_commands(session, {command.id: {"kind": "unknown", "why": "x\0"}})
    assert _open(here, gateway) == []


def test_the_first_answer_to_a_command_stays(here, place, account, add):
    command = _ask(here, place, account)
    for why in ("first", "second"):
        with here.transaction() as session:
            link_commands.answer_commands(session, {command.id: {"kind": "unknown", "why": why}})
    with here.reading() as session:
        assert session.get_one(LinkCommand, command.id).answer == {"kind": "unknown", "why": "first"}


def test_commands_of_another_day_are_forgotten(here, place, account):
    _ask(here, place, account, age_s=90_000)
    kept = _ask(here, place, account)
    with here.transaction() as session:
        before = here.clock.now() - link_commands.KEEP_COMMANDS
        assert link_commands.forget_commands(session, before=before, limit=10) == 1
    with here.reading() as session:
        assert session.exec(select(LinkCommand.id)).all() == [kept.id]


def test_an_order_goes_out_under_one_lease_and_whoever_takes_over_is_told_that_another_may_have_it(
    here, place, account, add, dial, hold, clock: SteppableClock
):
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    first = _ask(here, place, account, kind="submit", key="m/1")
    assert (_hand_out(here, first), _handed_before(here, "m/1")) == ({first.id}, {})
    assert _hand_out(here, first) == {first.id}, "to the same holder it may go again"
    clock.step(LEASE_S + 1)
    hold(other, dial(other))
    assert _hand_out(here, first) == set()
    assert _handed_before(here, "m/1")["m/1"].order == {"key": "m/1"}
    second = _ask(here, place, account, kind="submit", key="m/2")
    assert _handed_before(here, "m/2") == {}
    assert (_hand_out(here, second), _handed_before(here, "m/2")) == ({second.id}, {})


@pytest.mark.parametrize("is_unsent", [True, False])
def test_an_order_that_was_certainly_not_sent_counts_as_never_handed_out(
    here, place, account, add, dial, hold, clock: SteppableClock, is_unsent
):
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    command = _ask(here, place, account, kind="submit", key="m/1")
    _hand_out(here, command)
    _answer(here, command, is_unsent=is_unsent)
    assert _hand_out(here, command) == set(), "what was answered goes out no more"
    clock.step(LEASE_S + 1)
    hold(other, dial(other))
    assert list(_handed_before(here, "m/1")) == ([] if is_unsent else ["m/1"])
    with here.reading() as session:
        handed = link_commands.handed_to(session, one.id, account.id, ["m/1"])
    assert handed == (set() if is_unsent else {("m/1", "/amr-01")})


def test_that_an_order_was_not_sent_counts_for_nothing_once_the_robot_has_changed_hands(
    here, place, account, add, dial, hold, clock: SteppableClock
):
    one, other = add("one")[0], add("other")[0]
    hold(one, dial(one))
    command = _ask(here, place, account, kind="submit", key="m/1")
    _hand_out(here, command)
    clock.step(LEASE_S + 1)
    hold(other, dial(other))
    _answer(here, command, is_unsent=True)
    assert list(_handed_before(here, "m/1")) == ["m/1"]


def _answer(here: Runtime, command: LinkCommand, *, is_unsent: bool) -> None:
    with here.transaction() as session:
        said = {"kind": "unknown", "why": "away"}
        link_commands.answer_commands(session, {command.id: said}, unsent={command.id} if is_unsent else ())


def test_an_order_that_no_gateway_holds_the_robot_for_does_not_go_out(
    here, place, account, add, dial, hold, clock: SteppableClock
):
    gateway, _ = add("north")
    hold(gateway, dial(gateway))
    command = _ask(here, place, account, kind="submit", key="m/1")
    clock.step(LEASE_S + 1)
    assert _hand_out(here, command) == set()


def _hand_out(here: Runtime, command: LinkCommand) -> set:
    with here.transaction() as session:
        return link_commands.hand_out(session, [command.id])


def _handed_before(here: Runtime, key: str) -> dict:
    with here.reading() as session:
        return link_commands.handed_before(session, [key])


def test_orders_of_attempts_that_live_are_remembered(here, place, account):
    kept = _ask(here, place, account, age_s=90_000, kind="submit", key="m/1")
    _ask(here, place, account, age_s=90_000, kind="submit", key="m/2")
    with here.transaction() as session:
        before = here.clock.now() - link_commands.KEEP_COMMANDS
        assert link_commands.forget_commands(session, before=before, limit=10, but_for=["m/1"]) == 1
    with here.reading() as session:
        assert session.exec(select(LinkCommand.id)).all() == [kept.id]
