"""A gateway's journal: what it must not forget is there after it was killed, and an older holder is refused."""

from pathlib import Path

import pytest

from fleet.adapter import Order
from fleet.errors import Conflict, Unavailable
from fleet.journal import JournalFile


@pytest.fixture
def file(tmp_path: Path):
    """An empty journal."""
    opened = JournalFile(tmp_path / "gateway.db")
    yield opened
    opened.close()


def _order(key: str, *, fence: int = 1, robot: str = "/amr-01") -> Order:
    return Order(key=key, fence=fence, serial_number=robot, mission_id="m", tasks=())


def test_an_order_is_new_once_and_known_from_then_on(file: JournalFile):
    journal = file.of("a")
    assert journal.admit(_order("m/1"), {"step": 0}) is None
    known = journal.admit(_order("m/1"), {"step": 9})
    assert known is not None
    assert (known.order, known.state, known.is_over) == (_order("m/1"), {"step": 0}, False)


def test_an_older_fence_is_refused_and_leaves_nothing(file: JournalFile):
    journal = file.of("a")
    journal.admit(_order("m/2", fence=5))
    with pytest.raises(Conflict, match="fence 5"):
        journal.admit(_order("m/1", fence=4))
    assert journal.entry("m/1") is None


def test_fences_are_of_one_robot_on_one_account(file: JournalFile):
    file.of("a").admit(_order("m/2", fence=5))
    assert file.of("a").admit(_order("m/1", fence=4, robot="/amr-02")) is None
    assert file.of("b").admit(_order("m/1", fence=4)) is None


def test_an_order_that_was_cancelled_before_it_came_is_over_when_it_comes(file: JournalFile):
    journal = file.of("a")
    assert journal.decline("m/1", "/amr-01", 1, {"why": "cancelled"}) is None
    known = journal.admit(_order("m/1"))
    assert known is not None
    assert (known.is_over, known.order) == (True, None)


def test_what_was_over_stays_over(file: JournalFile):
    journal = file.of("a")
    journal.admit(_order("m/1"))
    journal.save("m/1", {"step": 1}, is_over=True)
    journal.save("m/1", {"step": 2})
    assert journal.entry("m/1").is_over
    assert journal.live() == []


def test_live_orders_are_there_for_the_next_process_oldest_first(file: JournalFile, tmp_path: Path):
    for key in ("m/1", "m/2", "m/3"):
        file.of("a").admit(_order(key))
    file.of("a").save("m/2", {}, is_over=True)
    after = JournalFile(tmp_path / "gateway.db")
    assert [entry.key for entry in after.of("a").live()] == ["m/1", "m/3"]
    after.close()


def test_what_is_to_be_told_is_kept_until_it_was_told_and_numbers_never_come_again(file: JournalFile):
    file.of("a").admit(_order("m/1"))
    file.of("a").save("m/1", {}, tell=[b"[1]", b"[2]"])
    first, second = file.waiting()
    file.told(second.number)
    assert file.waiting() == []
    file.spool("b", [b"[3]"])
    (third,) = file.waiting()
    assert (third.account, third.body) == ("b", b"[3]")
    assert first.number < second.number < third.number


def test_somebody_is_called_when_there_is_more_to_tell(file: JournalFile):
    calls: list[int] = []
    file.on_spooled = lambda: calls.append(1)
    file.of("a").admit(_order("m/1"))
    file.of("a").save("m/1", {})
    assert calls == []
    file.of("a").save("m/1", {}, tell=[b"[]"])
    file.spool("a", [b"[]"])
    assert calls == [1, 1]


def test_nobody_else_reads_the_journal(file: JournalFile, tmp_path: Path):
    file.keep_fact("accounts", "secret")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("gateway.db*")} == {0}


def test_a_full_disk_is_told_as_such_and_the_journal_works_on_when_there_is_room(file: JournalFile):
    journal = file.of("a")
    journal.admit(_order("m/1"))
    pages = file.rows("PRAGMA page_count")[0][0]
    file.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="disk is full"):
        file.spool("a", [b"x" * 100_000])
    file.rows("PRAGMA max_page_count = 100000")
    assert journal.admit(_order("m/2")) is None
    assert [one.key for one in journal.live()] == ["m/1", "m/2"]


def test_a_file_that_is_no_journal_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "gateway.db").write_bytes(b"nonsense " * 1000)
    with pytest.raises(Unavailable, match="not a database"):
        JournalFile(tmp_path / "gateway.db")


def test_a_journal_that_cannot_be_made_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be used"):
        JournalFile(tmp_path / "file" / "gateway.db")


def test_orders_of_a_robot_that_another_gateway_held_meanwhile_are_forgotten_and_no_others(file: JournalFile):
    journal = file.of("a")
    assert journal.hold({"/amr-01": 3, "/amr-02": 1}) == []
    for key, robot in (("m/1", "/amr-01"), ("m/2", "/amr-01"), ("m/3", "/amr-02")):
        journal.admit(_order(key, robot=robot))
    journal.save("m/1", {}, is_over=True)
    assert journal.hold({"/amr-01": 3, "/amr-02": 1}) == []
    assert sorted(journal.hold({"/amr-01": 5, "/amr-02": 1})) == ["m/1", "m/2"]
    assert [entry.key for entry in journal.live()] == ["m/3"]
    assert journal.entry("m/1") is journal.entry("m/2") is None
    with pytest.raises(Conflict):  # what it was held under is not forgotten
        journal.check_fence("/amr-01", 0)


def test_what_is_held_again_under_the_same_lease_after_others_were_held_is_still_known(file: JournalFile):
    journal = file.of("a")
    journal.hold({"/amr-01": 3})
    journal.admit(_order("m/1"))
    assert journal.hold({}) == journal.hold({"/amr-02": 1}) == journal.hold({"/amr-01": 3}) == []
    assert journal.entry("m/1") is not None
