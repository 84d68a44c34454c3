"""Logs: what cannot be written stops nobody, and is counted."""

import json
import sys

import structlog

from fleet.logs import configure_logs


class FullDisk:
    """A file whose disk is full until there is room."""

    def __init__(self):
        self.is_full = True
        self.written = ""

    def write(self, text):
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.written += text

    def flush(self):
        """Nothing is kept back."""


def test_events_are_told_from_their_level_upwards(capsys):
    configure_logs(level="warning", form="json")
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").error("a robot is silent", robot="r-1")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["robot"] == "r-1"


def test_a_full_disk_stops_nobody_and_the_lines_it_cost_are_counted(monkeypatch):
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    configure_logs(level="info", form="json")
    for _ in range(3):
        structlog.get_logger("x").info("one")
    disk.is_full = False
    structlog.get_logger("y").info("two")
    structlog.get_logger("y").info("three")
    told, *events = disk.written.splitlines()
    assert told == "(3 lines before this one could not be written)"
    assert [json.loads(event)["event"] for event in events] == ["two", "three"]


def test_a_closed_standard_error_stops_nobody(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        configure_logs(level="info", form="text")
    structlog.get_logger("x").warning("nobody hears this")
    assert (tmp_path / "log").read_text() == ""


def test_an_exception_is_told_with_its_trace(capsys):
    configure_logs(level="info", form="text")
    try:
        [].pop()
    except IndexError:
        structlog.get_logger("x").exception("it went wrong")
    told = capsys.readouterr().err
    assert "it went wrong" in told
    assert "IndexError" in told
