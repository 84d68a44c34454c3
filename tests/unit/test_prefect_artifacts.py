"""Tables that a flow run shows."""

from orchestration.markdown import table_text


def test_a_table_has_a_head_and_one_line_for_each_row():
    text = table_text([{"Mission": "Press", "Robot": "amr-01"}, {"Mission": "Gate", "Robot": ""}])
    assert text.splitlines() == [
        "| Mission | Robot |",
        "| --- | --- |",
        "| Press | amr-01 |",
        "| Gate |  |",
    ]


def test_text_of_others_cannot_break_out_of_its_cell():
    text = table_text([{"Reason": "a | b\n| c | d |"}])
    assert text.splitlines()[2] == r"| a \| b \| c \| d \| |"


def test_text_of_others_is_shown_and_not_interpreted():
    text = table_text([{"Reason": "<img src=x> [click](http://evil) *bold* `code`"}])
    assert r"\<img src=x\> \[click\](http://evil) \*bold\* \`code\`" in text


def test_values_of_any_kind_are_written_as_text():
    assert "| 3 | None | 1.5 |" in table_text([{"a": 3, "b": None, "c": 1.5}])
