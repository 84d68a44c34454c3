"""`yardmaster bags convert` in the plain way: understood as Typer understands it, or left to Typer."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deployments.cli import bags, converting
from deployments.cli.app import app
from deployments.cli.tables import drawn

PLAIN = [
    ["night.mcap", "--out", "lake"],
    ["--out", "lake", "night.mcap"],
    ["--out=lake", "night.mcap", "--json"],
    ["--json", "night.mcap", "--robot", "amr 1", "--out", "lake", "--definitions", "msgs"],
    ["night.mcap", "--robot=a=b", "--out", "lake"],
]
NOT_PLAIN = [
    [],
    ["night.mcap"],
    ["night.mcap", "--out"],
    ["night.mcap", "--out", ""],
    ["night.mcap", "--out", "--json"],
    ["night.mcap", "--out", "lake", "--out", "other"],
    ["night.mcap", "other.mcap", "--out", "lake"],
    ["night.mcap", "--out", "lake", "--help"],
    ["night.mcap", "--out", "lake", "--fast"],
    ["night.mcap", "--out", "lake", "--definitions", "night.mcap"],
    ["missing.mcap", "--out", "lake"],
    ["--", "night.mcap", "--out", "lake"],
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the command runs: a recording, which is empty, and a folder of definitions."""
    (tmp_path / "night.mcap").touch()
    (tmp_path / "msgs").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_the_plain_way_is_understood_as_typer_does(words, monkeypatch):
    seen = []
    monkeypatch.setattr(bags, "converted", lambda asked: seen.append(asked) or 0)
    ran = CliRunner().invoke(app, ["bags", "convert", *words])
    assert ran.exit_code == 0, ran.output
    assert [converting.plainly_asked(["bags", "convert", *words])] == seen


@pytest.mark.parametrize("words", NOT_PLAIN, ids=lambda words: " ".join(words) or "nothing")
def test_all_else_is_left_to_typer(words):
    assert converting.plainly_asked(["bags", "convert", *words]) is None


@pytest.mark.parametrize(
    "words", [[], ["bags"], ["bags", "verify", "night.mcap", "lake"], ["--var", "x", "bags"]], ids=str
)
def test_other_commands_are_left_to_typer(words):
    assert converting.plainly_asked(words) is None


def test_a_conversion_imports_neither_what_reads_command_lines_nor_what_checks_models():
    script = (
        "import sys; sys.argv = ['yardmaster', 'bags', 'convert', 'night.mcap', '--out', 'lake']\n"
        "from deployments.cli.converting import converted, plainly_asked\n"
        "print('ENDED', converted(plainly_asked(sys.argv[1:])))\n"
        "print('LOADED', *sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "ENDED 2" in ran.stdout
    assert "night.mcap: refused, 0 messages" in ran.stdout
    assert "The file is empty." in ran.stderr
    loaded = set(ran.stdout.partition("LOADED ")[2].split())
    assert "ingestion.bags.reading" in loaded
    assert loaded & {"typer", "rich", "pydantic", "yaml", "pandas", "fsspec", "pyarrow.compute"} == set()
    assert loaded & {"pyarrow.parquet", "pyarrow.fs", "sqlite3", "zipfile", "ingestion.bags.media"} == set()


def test_what_is_wrong_is_one_sentence_there_too():
    command = [sys.executable, "-m", "deployments.cli", "bags", "convert", "msgs", "--out", "msgs/lake"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("yardmaster: msgs/lake lies in the recording msgs itself")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
def test_what_is_told_is_told_whole_to_a_pipe_and_the_exit_code_is_that_of_typer(options):
    command = [sys.executable, "-m", "deployments.cli", "bags", "convert", "night.mcap", "--out", "lake", *options]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    by_typer = subprocess.run([*command, "--out", "lake"], capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stdout, plain.stderr) == (2, by_typer.stdout, by_typer.stderr)
    assert plain.stdout.endswith("\n")


def test_who_reads_no_further_sees_no_traceback():
    command = f"{sys.executable} -m deployments.cli bags convert night.mcap --out lake --json"
    ran = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) in [(1, ""), (2, "")]  # 2: written before the reader went


def test_a_table_for_programs_is_folded_to_no_width():
    long = "/a" * 100
    assert drawn("2 topics", ("topic", "rows"), [(long, 7), ("/b\nc", None)]).splitlines() == [
        "2 topics",
        f"┏━{'━' * 200}━┳━━━━━━┓",
        f"┃ {'topic':200} ┃ rows ┃",
        f"┡━{'━' * 200}━╇━━━━━━┩",
        f"│ {long} │ 7    │",
        f"│ {'/b':200} │      │",
        f"│ {'c':200} │      │",
        f"└─{'─' * 200}─┴──────┘",
    ]


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("3", "3")])
def test_the_algebra_of_numpy_gets_one_thread_unless_somebody_gave_it_others(given, found):
    script = (
        "import os, sys\nfrom deployments.cli.converting import converted, plainly_asked\n"
        "converted(plainly_asked(['bags', 'convert', 'night.mcap', '--out', 'lake']))\n"
        "print('THREADS', os.environ['OPENBLAS_NUM_THREADS'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.endswith(f"THREADS {found}\n")
