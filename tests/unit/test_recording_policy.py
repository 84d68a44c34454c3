"""The document of a recording policy: its defaults, its bounds, and what it says of what it refuses."""

import json

import pytest

from fleet.errors import Invalid
from ingestion.recording_policy import NOTHING, RecordingPolicy, parsed
from ingestion.statuses import TriggerKind


def test_a_trigger_keeps_five_minutes_before_and_two_after_of_every_topic():
    (trigger,) = parsed('{"triggers": [{"on": "error"}]}').triggers
    assert (trigger.before_s, trigger.after_s) == (300.0, 120.0)
    assert [chosen.pattern for chosen in trigger.topics] == ["*"]


def test_an_empty_document_records_nothing():
    assert parsed("{}") == NOTHING
    assert NOTHING.trigger(TriggerKind.error) is None


def test_what_is_written_is_read_back_as_it_was():
    policy = parsed(
        '{"applies_to": {"sites": ["north"]}, "continuous": [{"pattern": "/battery_state", "max_rate_hz": 0.5}],'
        ' "triggers": [{"on": "anomaly", "topics": [{"pattern": "/imu", "max_rate_hz": 50}], "after_s": 0}]}'
    )
    assert RecordingPolicy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"triggers": [{"on": "error"}, {"on": "error"}]}, "'error' is there twice"),
        ({"triggers": [{"on": "error", "before_s": 0, "after_s": 0}]}, "nothing would be recorded"),
        ({"triggers": [{"on": "error", "before_s": 1801}]}, "triggers.0.before_s: Input should be less than"),
        ({"triggers": [{"on": "error", "after_s": -1}]}, "(it is -1)"),
        ({"triggers": [{"on": "error", "topics": []}]}, "triggers.0.topics"),
        ({"triggers": [{"on": "fire"}]}, "(it is 'fire')"),
        ({"triggers": [{"on": "error", "topics": [{"pattern": "imu"}]}]}, "(it is 'imu')"),
        ({"triggers": [{"on": "error", "topics": [{"pattern": "/imu", "max_rate_hz": 0}]}]}, "greater than 0"),
        ({"continuous": [{"pattern": "/imu"}]}, "continuous.0.max_rate_hz: Field required"),
        ({"continuous": [{"pattern": "/imu", "max_rate_hz": 200}]}, "less than or equal to 10"),
        ({"split_s": 1}, "split_s"),
        ({"applies_to": {"robots": ["amr-01", "amr-01"]}}, "'amr-01' is named twice"),
        ({"applies_to": {"robots": ["a\u0000b"]}}, "applies_to.robots.0"),
        ({"keep_everything": True}, "keep_everything"),
    ],
)
def test_what_it_cannot_be_is_refused_with_its_place_and_value(document, told):
    with pytest.raises(Invalid) as refused:
        parsed(json.dumps(document))
    assert told in refused.value.message


@pytest.mark.parametrize("text", ["", "[]", "{", '{"split_s": NaN}'])
def test_what_is_no_document_at_all_is_refused(text):
    with pytest.raises(Invalid, match="no recording policy"):
        parsed(text)
