"""Lives stay whole and stay on their side."""

import pytest

from fleet.errors import Invalid
from ml.labels import Life
from ml.splits import folds, split


@pytest.fixture
def ended():
    """Twelve ended lives of four robots."""
    return [Life(f"amr-{robot:02}", number, (), 0.0, 60.0) for robot in range(1, 5) for number in range(3)]


def test_every_life_is_on_exactly_one_side(ended):
    parts = split(ended)
    assert sorted(life.name for life in (*parts.train, *parts.held_out)) == sorted(life.name for life in ended)
    assert parts.held_out
    assert len(parts.train) > len(parts.held_out)


def test_the_order_in_which_lives_come_does_not_matter(ended):
    assert split(ended) == split(ended[::-1])


def test_a_held_out_life_by_its_own_draw_stays_held_out_when_more_lives_come(ended):
    more = [*ended, *(Life("amr-09", number, (), 0.0, 60.0) for number in range(6))]
    before = {life.name for life in split(ended).held_out}
    assert len(before & {life.name for life in split(more).held_out}) >= len(before) - 1


@pytest.mark.parametrize(("lives", "held_out"), [(4, 1), (6, 2), (8, 2), (12, 3)])
def test_about_a_quarter_is_held_out(ended, lives, held_out):
    assert len(split(ended[:lives]).held_out) in (held_out, held_out + 1)


def test_too_few_lives_are_refused_with_what_is_needed(ended):
    with pytest.raises(Invalid, match="Only 3 lives have ended in a recorded failure; training needs 4"):
        split(ended[:3])


def test_in_the_folds_every_life_is_predicted_once_by_a_model_without_it(ended):
    pairs = folds(ended)
    assert sorted(life.name for _, unseen in pairs for life in unseen) == sorted(life.name for life in ended)
    for learn, unseen in pairs:
        assert not {life.name for life in learn} & {life.name for life in unseen}
        assert len(learn) + len(unseen) == len(ended)
