"""A batch of bags: one that brings its child down costs only itself."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from fleet.database import new_id
from fleet.errors import NotFound, Rejected, Unavailable
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


@pytest.mark.parametrize("error", [Unavailable("something killed it"), Rejected("it needed more memory")])
async def test_a_bag_that_brings_its_child_down_costs_only_itself(error: Exception):
    children = Children(BAGS[1], error)
    outcomes = await apart_if_need_be(children.convert, BAGS)
    assert [outcome.status for outcome in outcomes] == ["complete", "not converted", "complete"]
    assert outcomes[1].problem == str(error)
    assert children.given == [BAGS, [BAGS[0]], [BAGS[1]], [BAGS[2]]]


async def test_a_single_bag_is_not_tried_twice():
    children = Children(BAGS[0], Unavailable("killed"))
    outcomes = await apart_if_need_be(children.convert, BAGS[:1])
    assert (outcomes[0].status, len(children.given)) == ("not converted", 1)


async def test_a_wrong_question_is_an_error_of_the_whole_run():
    children = Children(BAGS[0], NotFound("bag_ids: there is no bag"))
    with pytest.raises(NotFound):
        await apart_if_need_be(children.convert, BAGS)
