"""What the short way takes of missions is what the long way takes, and is understood alike."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from api.routes.missions import MissionWanted
from api.strict import faults

TEXTS = st.one_of(
    st.sampled_from(["gate", "", "a\0b", "\ud800", "x" * 201, "ö", "NaN", "1", "true", "2026-03-01T22:00:00Z"]),
    st.text(max_size=5),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 50, 101, 2**63, -(2**63), 2**80, 0.5, 1e308, float("inf"), float("nan"), 1.0]),
    st.integers(-200, 200),
    st.floats(),
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
PARAMETERS = st.dictionaries(TEXTS, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=3)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.one_of(st.sampled_from(["go_to", "wait", "reading", "fly"]), SCALARS),
        "station": TEXTS,
        "parameters": PARAMETERS,
        "timeout_s": SCALARS,
    },
)
INSTANTS = st.one_of(
    SCALARS, st.sampled_from(["2026-03-01T22:00:00+01:00", "0001-01-01T00:00:00+01:00", "2026-03-01", 1772400000])
)
SOUND = {"name": "look", "key": "k", "site": "north", "tasks": [{"station": "gate", "parameters": {"a": 1}}]}
CHANGES = {
    "name": TEXTS,
    "key": TEXTS,
    "site": TEXTS,
    "robot": TEXTS,
    "tasks": st.lists(TASKS, max_size=2),
    "priority": SCALARS,
    "required_capabilities": st.lists(TEXTS, max_size=2),
    "not_after_at": INSTANTS,
    "attempts_max": SCALARS,
    "backoff_s": SCALARS,
    "retry_from": st.sampled_from(["failed_task", "first_task", "nowhere"]),
    "preemptible": SCALARS,
    "surprise": SCALARS,
}
ONE_CHANGE = st.one_of([st.tuples(st.just(name), values) for name, values in CHANGES.items()])
MISSIONS = st.lists(ONE_CHANGE, max_size=2).map(lambda changes: SOUND | dict(changes))


@settings(max_examples=400, deadline=None)
@given(MISSIONS)
def test_what_the_short_way_takes_is_taken_and_understood_alike_by_the_long_way(asked):
    body = json.dumps(asked)
    try:
        short = MissionWanted.model_validate_json(body)
    except ValidationError:
        return  # it goes the long way
    assert list(faults(json.loads(body))) == []
    assert short == MissionWanted.model_validate(json.loads(body))
    short.model_dump_json().encode()
