"""A batch of bags: one that brings its child down costs only itself."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from fleet.database import new_id
from fleet.errors import NotFound, Rejected, Unavailable
from orchestration.bag_progress import BagsReached
from orchestration.work.bags import Converted, apart_if_need_be


class Children:
    """Converts in children that a poisonous bag brings down; remembers what each child was given."""

    def __init__(self, poison: UUID | None, error: Exception) -> None:
        self.poison, self.error, self.given = poison, error, list[list[UUID]]()

    async def convert(self, bag_ids: Sequence[UUID]) -> list[Converted]:
        self.given.append(list(bag_ids))
        if self.poison in bag_ids:
            raise self.error
        return [Converted(str(bag_id), "a.mcap", "complete", messages=1) for bag_id in bag_ids]


BAGS = [new_id() for _ in range(3)]


async def test_bags_that_hurt_nobody_share_one_child():
    children = Children(None, Unavailable("killed"))
    outcomes = await apart_if_need_be(children.convert, BAGS)
    assert [outcome.status for outcome in outcomes] == ["complete"] * 3
    assert children.given == [BAGS]


@pytest.mark.parametrize(
    "error", [Unavailable("something killed it"), Rejected("it needed more memory"), IndexError("a fault")]
)
async def test_a_bag_that_brings_its_child_down_costs_only_itself(error: Exception):
    children = Children(BAGS[1], error)
    outcomes = await apart_if_need_be(children.convert, BAGS)
    assert [outcome.status for outcome in outcomes] == ["complete", "not converted", "complete"]
    assert str(error) in outcomes[1].problem
    assert children.given == [BAGS, [BAGS[0]], [BAGS[1]], [BAGS[2]]]


async def test_a_single_bag_is_not_tried_twice():
    children = Children(BAGS[0], Unavailable("killed"))
    outcomes = await apart_if_need_be(children.convert, BAGS[:1])
    assert (outcomes[0].status, len(children.given)) == ("not converted", 1)


async def test_a_wrong_question_is_an_error_of_the_whole_run():
    children = Children(BAGS[0], NotFound("bag_ids: there is no bag"))
    with pytest.raises(NotFound):
        await apart_if_need_be(children.convert, BAGS)


async def test_only_what_has_nothing_to_do_with_the_bag_is_worth_another_try():
    killed = Children(BAGS[0], Unavailable("it was ended from outside", exit_code=-9))
    greedy = Children(BAGS[0], Rejected("it needed more memory"))
    slow = Children(BAGS[0], Unavailable("it took longer than 1800 s"))
    tried = [await apart_if_need_be(children.convert, BAGS[:1]) for children in (killed, greedy, slow)]
    assert [outcome.is_worth_a_try for (outcome,) in tried] == [True, False, False]


def test_the_bar_of_a_run_counts_the_bytes_of_all_its_bags():
    reached = BagsReached({BAGS[0]: ("a.mcap", 3_000_000), BAGS[1]: ("b.mcap", 1_000_000)}, is_fetched=False)
    assert reached.note(BAGS[0], "read", 1_500_000) == (1_500_000, 4_000_000, "Bag 1 of 2, a.mcap: 1.5 of 3.0 MB read")
    assert reached.note(BAGS[0], "converted", 0) == (3_000_000, 4_000_000, "Bag 1 of 2, a.mcap: converted")
    assert reached.note(BAGS[1], "read", 1_000_000)[:2] == (4_000_000, 4_000_000)


def test_what_is_fetched_from_another_store_counts_as_much_as_what_is_read():
    reached = BagsReached({BAGS[0]: ("a.mcap", 3_000_000)}, is_fetched=True)
    assert reached.note(BAGS[0], "fetched", 1_500_000)[:2] == (1_500_000, 6_000_000)
    assert reached.note(BAGS[0], "read", 1_500_000)[:2] == (4_500_000, 6_000_000)
    assert reached.note(BAGS[0], "converted", 0)[:2] == (6_000_000, 6_000_000)


def test_a_killed_child_that_begins_again_takes_the_bar_back():
    reached = BagsReached({BAGS[0]: ("a.mcap", 1000)}, is_fetched=False)
    reached.note(BAGS[0], "read", 900)
    assert reached.note(BAGS[0], "read", 0)[:2] == (0, 1000)


def test_the_bar_says_how_much_there_is_in_all():
    one = BagsReached({BAGS[0]: ("a.mcap", 3_000_000)}, is_fetched=True)
    two = BagsReached({BAGS[0]: ("a.mcap", 3_000_000), BAGS[1]: ("b.mcap", 1_000_000)}, is_fetched=False)
    assert (one.whole, two.whole) == ("1 bag, 3.0 MB", "2 bags, 4.0 MB")
