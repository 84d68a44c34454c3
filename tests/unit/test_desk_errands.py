"""Which requests go into which flow run."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from fleet.requests import Request
from orchestration.desk_requests import GATHER_MAX, KINDS, Errand, errands

ACME, OTHER = uuid4(), uuid4()
NAMES = {ACME: "acme", OTHER: "other"}
Make = Callable[..., Request]


@pytest.fixture
def request_for() -> Make:
    def make(kind: str, organisation_id: UUID = ACME, **parameters: object) -> Request:
        return Request(
            organisation_id=organisation_id,
            kind=kind,
            key=str(uuid4()),
            parameters=parameters,
            requested_by="test",
            created_at=datetime(2026, 3, 1, tzinfo=UTC),
        )

    return make


def test_bags_of_one_organisation_go_into_one_run(request_for: Make):
    rows = [request_for("process-bag", bag_ids=[f"bag-{number}"]) for number in range(3)]
    (errand,) = errands(rows, NAMES)
    assert errand.parameters == {"bag_ids": ["bag-0", "bag-1", "bag-2"], "organisation": "acme"}
    assert errand.request_ids == tuple(row.id for row in rows)


def test_bags_of_two_organisations_never_share_a_run(request_for: Make):
    rows = [request_for("process-bag", ACME, bag_ids=["a"]), request_for("process-bag", OTHER, bag_ids=["b"])]
    assert sorted(errand.organisation for errand in errands(rows, NAMES)) == ["acme", "other"]


def test_more_bags_than_one_run_takes_are_shared_out(request_for: Make):
    rows = [request_for("process-bag", bag_ids=[str(number)]) for number in range(GATHER_MAX + 1)]
    assert [len(errand.request_ids) for errand in errands(rows, NAMES)] == [GATHER_MAX, 1]


def test_every_request_is_in_exactly_one_run(request_for: Make):
    kinds = ["process-bag", "train-rul", "process-bag", "publish-report", "process-bag"]
    rows = [request_for(kind, (ACME, OTHER)[index % 2], bag_ids=[index]) for index, kind in enumerate(kinds)]
    carried = [request_id for errand in errands(rows, NAMES) for request_id in errand.request_ids]
    assert sorted(carried) == sorted(row.id for row in rows)


def test_other_requests_get_a_run_each(request_for: Make):
    rows = [request_for("train-rul"), request_for("train-rul")]
    assert [errand.request_ids for errand in errands(rows, NAMES)] == [(rows[0].id,), (rows[1].id,)]


def test_a_request_cannot_name_another_organisation(request_for: Make):
    (errand,) = errands([request_for("publish-report", ACME, organisation="other", site="north")], NAMES)
    assert errand.parameters == {"organisation": "acme", "site": "north"}


def test_the_key_of_a_single_request_is_its_id(request_for: Make):
    (errand,) = errands([row := request_for("train-rul")], NAMES)
    assert errand.key == str(row.id)


def test_the_key_of_several_requests_does_not_depend_on_their_order():
    one, two = uuid4(), uuid4()
    there = Errand("process-bag", "acme", {}, (one, two))
    back = Errand("process-bag", "acme", {}, (two, one))
    assert there.key == back.key
    assert there.key != Errand("process-bag", "acme", {}, (one, uuid4())).key


def test_no_requests_are_no_runs():
    assert errands([], NAMES) == []


def test_what_may_be_asked_for_does_not_include_the_polling_of_clouds():
    assert "poll-manufacturer" not in KINDS
    assert "receive-webhooks" not in KINDS
