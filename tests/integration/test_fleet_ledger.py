"""Lines that are written together: in their order, none of a block that was undone, all or nothing."""

import pytest
from sqlmodel import select

from fleet import changes, ledger
from fleet.changes import Change


@pytest.fixture
def record(world):
    """Appends a change of this kind."""

    def tell(session, kind: str) -> None:
        changes.record(session, organisation_id=world.organisation.id, subject="test", subject_id=1, kind=kind)

    return tell


@pytest.fixture
def kinds(runtime):
    """The kinds of the changes in the database."""

    def read() -> list[str]:
        with runtime.reading() as session:
            query = select(Change.kind).where(Change.subject == "test").order_by(Change.id)
            return list(session.exec(query).all())

    return read


def test_what_is_appended_together_is_written_in_its_order(runtime, record, kinds):
    with runtime.transaction() as session, ledger.together(session):
        for kind in ("a", "b", "c"):
            record(session, kind)
        assert session.exec(select(Change).where(Change.subject == "test")).all() == []
    assert kinds() == ["a", "b", "c"]


def test_a_savepoint_that_is_undone_takes_its_lines_with_it_and_no_others(runtime, record, kinds):
    with runtime.transaction() as session, ledger.together(session):
        record(session, "before")
        with pytest.raises(LookupError), ledger.savepoint(session):
            record(session, "undone")
            raise LookupError("planted")
        record(session, "after")
    assert kinds() == ["before", "after"]


def test_nothing_is_written_when_the_block_fails(runtime, record, kinds):
    with pytest.raises(LookupError), runtime.transaction() as session, ledger.together(session):
        record(session, "a")
        raise LookupError("planted")
    assert kinds() == []


def test_alone_a_line_is_written_like_any_row(runtime, record, kinds):
    with runtime.transaction() as session:
        record(session, "a")
        assert len(session.exec(select(Change).where(Change.subject == "test")).all()) == 1
    assert kinds() == ["a"]
