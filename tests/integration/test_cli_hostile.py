"""The command line with bad arguments and in bad places: one sentence that names the value, exit code 2, nothing made."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.cli.app import run
from deployments.doctor import Finding, examine
from fleet.errors import Invalid, Unavailable
from fleet.settings import Settings, make_folder, read_settings

SQLITE_HEADER_BYTES = 100


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def yardmaster(monkeypatch, capsys, tmp_path) -> Callable[..., Ran]:
    """A command of `yardmaster` in the test's folder `var`, which is not made yet."""
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["yardmaster", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, told.out, told.err)

    return command


@pytest.fixture
def planted(tmp_path, migrated_database, yardmaster) -> Path:
    """The folder of an installation with the demo's rows."""
    folder = tmp_path / "var"
    folder.mkdir()
    shutil.copy(migrated_database, folder / "yardmaster.db")
    assert yardmaster("db", "seed").code == 0
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("db", "check"),
        ("missions", "list"),
        ("missions", "request", "Look", "--visit", "press-1"),
        ("robots", "list"),
        ("bags", "list"),
        ("train",),
        ("score",),
        ("report", "publish"),
    ],
    ids=" ".join,
)
def test_a_folder_without_an_installation_is_told_and_not_made(yardmaster, tmp_path, command):
    ran = yardmaster(*command)
    assert ran.code == 2
    assert "yardmaster.db is not there" in ran.err
    assert "yardmaster db migrate" in ran.err
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("command", [("db", "migrate"), ("db", "seed"), ("up",)], ids=" ".join)
def test_a_file_in_the_place_of_the_folder_is_told(yardmaster, tmp_path, command):
    (tmp_path / "var").write_text("not a folder")
    ran = yardmaster(*command)
    assert (ran.code, (tmp_path / "var").read_text()) == (2, "not a folder")
    assert "cannot be used: it is a file, no folder. Choose another with --var." in ran.err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here, where nobody can make a folder")
def test_a_place_where_no_folder_can_be_made_is_told(yardmaster):
    ran = yardmaster("--var", "/proc/yardmaster", "up")
    assert ran.code == 2
    assert "The folder /proc/yardmaster cannot be used" in ran.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="it is not writable"):
        make_folder(tmp_path)


def test_a_folder_that_is_there_is_taken_as_it_is(tmp_path):
    (tmp_path / "kept").write_text("kept")
    assert make_folder(tmp_path) == tmp_path
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize(
    "command", [("db", "check"), ("db", "migrate"), ("db", "seed"), ("missions", "list")], ids=" ".join
)
def test_a_database_file_of_rubbish_is_told_and_left_for_whoever_mends_it(yardmaster, tmp_path, command):
    (tmp_path / "var").mkdir()
    rubbish = b"\x00rubbish" * 1024
    (tmp_path / "var/yardmaster.db").write_bytes(rubbish)
    ran = yardmaster(*command)
    assert ran.code == 2
    assert "file is not a database" in ran.err
    assert "restore it from a backup" in ran.err
    assert (tmp_path / "var/yardmaster.db").read_bytes() == rubbish


def test_a_page_of_rubbish_in_the_middle_of_the_database_is_found_by_db_check(yardmaster, planted):
    file = planted / "yardmaster.db"
    content = bytearray(file.read_bytes())
    for page in range(40, len(content) // 4096, 7):
        content[page * 4096 : page * 4096 + SQLITE_HEADER_BYTES] = b"\xff" * SQLITE_HEADER_BYTES
    file.write_bytes(content)
    ran = yardmaster("db", "check")
    assert ran.code == 2
    assert "database" in ran.err


def _of(findings: list[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def test_the_doctor_says_what_is_wrong_with_a_database_of_rubbish(tmp_path):
    (tmp_path / "yardmaster.db").write_bytes(b"rubbish!" * 1024)
    found = _of(examine(Settings(var_dir=tmp_path)), "Database")
    assert found.found == "not usable"
    assert "file is not a database" in found.advice


def test_the_doctor_says_that_a_file_is_no_folder(tmp_path):
    (tmp_path / "var").write_text("")
    found = _of(examine(Settings(var_dir=tmp_path / "var")), "Folder")
    assert found.advice == "Choose another folder with --var."


def test_the_doctor_changes_nothing(yardmaster, tmp_path):
    ran = yardmaster("doctor")
    assert ran.code in {0, 1}
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("up", "--port-base", "abc"), "'--port-base': Input should be a valid integer"),
        (("up", "--robots", "0"), "(it is '0')"),
        (("up", "--speed", "fast"), "(it is 'fast')"),
        (("missions", "show", "nonsense"), "(it is 'nonsense')"),
        (("missions", "list", "--limit", "-3"), "(it is '-3')"),
        (("report", "publish", "--until", "yesterday"), "(it is 'yesterday')"),
        (("report", "publish", "--hours", "0"), "(it is '0')"),
        (("train", "--seed", "x"), "(it is 'x')"),
        (("bags", "convert", "/nowhere.mcap", "--out", "o"), "path '/nowhere.mcap' does not exist"),
        (("missions", "request", "Look"), "Missing option '--visit'"),
        (("missions", "fly"), "No such command 'fly'"),
        (("up", "--altitude", "3"), "No such option: --altitude"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_refused_argument_is_named_with_its_value(yardmaster, arguments, told):
    ran = yardmaster(*arguments)
    assert ran.code == 2
    assert told in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("missions", "list", "--status", "FLYING"), "There is no status 'FLYING'; known: CREATED"),
        (("missions", "list", "-o", "nobody"), "There is no organisation 'nobody'"),
        (("missions", "request", "", "--visit", "press-1"), "name: String should have at least 1 character (it is '')"),
        (("missions", "request", "x" * 201, "--visit", "press-1"), "name: String should have at most 200 characters"),
        (("missions", "request", "Look", "--visit", "moon"), "the station 'moon'; known stations: boiler-1"),
        (("missions", "request", "Look", "--visit", "gate", "--robot", "r2"), "no robot 'r2'; known robots: amr-01"),
        (
            ("missions", "request", "Look", "--visit", "gate", "-s", "south"),
            "no site 'south'; known sites: north-plant",
        ),
        (("missions", "show", "00000000-0000-0000-0000-000000000000"), "There is no mission 00000000"),
        (("missions", "cancel", "00000000-0000-0000-0000-000000000000"), "There is no mission 00000000"),
        (("bags", "list", "-o", "nobody"), "There is no organisation 'nobody'"),
        (("train", "-o", "nobody"), "There is no organisation 'nobody'"),
        (("score", "-o", "nobody"), "There is no organisation 'nobody'"),
        (("report", "publish", "-s", "south"), "no site 'south'; known sites: north-plant"),
        (("report", "publish", "--until", "9999-12-31"), "begins in the future"),
    ],
    ids=lambda part: " ".join(part)[:40] if isinstance(part, tuple) else "",
)
def test_what_is_not_there_is_named_with_what_is_known(yardmaster, planted, arguments, told):
    ran = yardmaster(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert yardmaster("missions", "list", "--json").out == "[]\n"


def test_a_mission_goes_its_way_from_request_to_cancelled(yardmaster, planted):
    asked = yardmaster("missions", "request", "Look", "--visit", "press-1", "--key", "k")
    again = yardmaster("missions", "request", "Look", "--visit", "press-1", "--key", "k")
    mission_id = asked.out.split()[0]
    assert (asked.code, again.out) == (0, asked.out)
    shown = yardmaster("missions", "show", mission_id)
    assert '"name": "Look"' in shown.out
    ended = yardmaster("missions", "cancel", mission_id, "--why", "rain")
    assert ended.out == f"{mission_id} is CANCELED, wanted: cancel\n"
    assert '"rain"' in yardmaster("missions", "show", mission_id).out
    once_more = yardmaster("missions", "cancel", mission_id)
    assert once_more.code == 2
    assert "has ended (CANCELED)" in once_more.err


def test_a_mission_is_paused_and_let_go_on(yardmaster, planted):
    mission_id = yardmaster("missions", "request", "Look", "--visit", "press-1").out.split()[0]
    assert yardmaster("missions", "pause", mission_id).out.endswith("wanted: pause\n")
    assert yardmaster("missions", "resume", mission_id).out.endswith("wanted: run\n")


def test_a_recording_of_nothing_is_refused_and_verify_says_that_there_is_no_dataset(yardmaster, tmp_path):
    (tmp_path / "empty.mcap").write_bytes(b"")
    ran = yardmaster("bags", "convert", tmp_path / "empty.mcap", "--out", tmp_path / "lake")
    assert ran.code == 2
    assert "refused, 0 messages" in ran.out
    assert "The file is empty." in ran.err
    (tmp_path / "other").mkdir()
    checked = yardmaster("bags", "verify", tmp_path / "empty.mcap", tmp_path / "other")
    assert checked.code == 2
    assert "holds no dataset of empty.mcap; convert it first" in checked.err


def test_the_json_of_a_conversion_is_all_that_is_on_standard_output(yardmaster, tmp_path):
    (tmp_path / "empty.mcap").write_bytes(b"")
    ran = yardmaster("bags", "convert", tmp_path / "empty.mcap", "--out", tmp_path / "lake", "--json")
    told = json.loads(ran.out)
    assert told["status"] == "refused"
    assert json.loads(Path(told["manifest"]).read_text())["reason"] == "The file is empty."
    assert ran.err == ""


def test_a_dataset_does_not_go_into_the_recording_it_is_made_of(yardmaster, tmp_path):
    ran = yardmaster("bags", "convert", tmp_path, "--out", tmp_path / "lake")
    assert ran.code == 2
    assert "lies in the recording" in ran.err
    assert not (tmp_path / "lake").exists()


def test_a_folder_without_a_recording_is_refused_and_says_why(yardmaster, tmp_path):
    (tmp_path / "folder").mkdir()
    ran = yardmaster("bags", "convert", tmp_path / "folder", "--out", tmp_path / "lake")
    assert ran.code == 2
    assert "There is no recording (.bag, .db3 or .mcap) in this folder" in ran.err


def test_a_setting_that_cannot_be_is_named_as_the_variable_it_came_from(yardmaster, monkeypatch):
    monkeypatch.setenv("YARDMASTER_LOG_LEVEL", "shout")
    ran = yardmaster("db", "check")
    assert ran.code == 2
    assert "YARDMASTER_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error' (it is 'shout')" in ran.err


def test_every_wrong_setting_is_told_at_once(monkeypatch):
    monkeypatch.setenv("YARDMASTER_UPLOAD_MAX_BYTES", "-1")
    monkeypatch.setenv("YARDMASTER_ENVIRONMENT", "moon")
    with pytest.raises(Invalid) as refused:
        read_settings()
    assert "YARDMASTER_UPLOAD_MAX_BYTES: " in refused.value.message
    assert "YARDMASTER_ENVIRONMENT: " in refused.value.message


@pytest.mark.parametrize("content", ["{", "[]", '{"organisation": 7}'])
def test_damaged_tokens_are_told_and_never_shown(yardmaster, planted, content):
    (planted / "tokens.json").write_text(content)
    ran = yardmaster("db", "seed")
    assert ran.code == 2
    assert "tokens.json is damaged. Delete it" in ran.err
    (planted / "tokens.json").unlink()
    assert yardmaster("db", "seed").code == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "Invalid JSON"),
        ('{"robots": "many"}', "robots: Input should be a valid integer"),
        ("{}", "Field required"),
    ],
)
def test_options_of_a_site_that_cannot_be_are_told_without_their_values(yardmaster, tmp_path, content, told):
    (tmp_path / "site.json").write_text(content)
    ran = yardmaster("simulate", "--options", tmp_path / "site.json")
    assert ran.code == 2
    assert told in ran.err
    assert "many" not in ran.err


def test_a_site_without_an_installation_says_where_tokens_come_from(yardmaster):
    ran = yardmaster("simulate")
    assert ran.code == 2
    assert "There is no tokens.json" in ran.err
