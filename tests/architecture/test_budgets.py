"""The budgets of the house style: sizes of files and functions, names, blind excepts, what is never written."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["fleet", "missions", "ingestion", "ml", "reports", "api", "orchestration", "deployments"]
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py") if "versions" not in file.parts)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(file: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, Function)]


def _lines(function: Function) -> int:
    text = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (len(text.splitlines()) if text else 0)


def _named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_longer_than_400_lines():
    long = {_named(file): count for file in FILES if (count := file.read_text().count("\n")) > 400}
    assert long == {}


def test_no_function_is_longer_than_60_lines_and_nine_of_ten_fit_in_30():
    sizes = sorted((_lines(function), _named(file), function.name) for file in FILES for function in _functions(file))
    assert sizes[-1][0] <= 60, sizes[-1]
    assert sizes[int(0.9 * (len(sizes) - 1))][0] <= 30


def test_every_file_says_what_it_is_for():
    silent = [_named(file) for file in FILES if ast.get_docstring(ast.parse(file.read_text())) is None]
    assert silent == []


def test_no_file_hides_its_subject_behind_a_drawer_name():
    drawers = re.compile(r"(utils|helpers|common|misc|manager|service)\.py$")
    assert [_named(file) for file in FILES if drawers.search(file.name)] == []


def test_at_most_three_outermost_loops_catch_everything():
    blind = [
        f"{_named(file)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"})
    ]
    assert len(blind) <= 3, blind


def test_every_lint_ignore_carries_its_code_and_its_reason():
    bare = re.compile(r"#\s*noqa(?!: [A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)*  ?\S)")
    found = [
        f"{_named(file)}: {line.strip()}"
        for file in FILES
        for line in file.read_text().splitlines()
        if bare.search(line)
    ]
    assert found == []


def test_tests_are_at_least_four_fifths_of_the_code():
    code = sum(file.read_text().count("\n") for file in FILES)
    tests = sum(file.read_text().count("\n") for file in (ROOT / "tests").rglob("*.py"))
    assert tests / code >= 0.8


def test_only_lifecycle_assigns_a_status_of_missions_and_attempts():
    assigned = [
        f"{_named(file)}:{node.lineno}"
        for file in FILES
        if file.parts[-2] == "missions" and file.name not in {"lifecycle.py", "simulation.py"}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute)
        and target.attr in {"status", "desired", "version"}
        and getattr(target.value, "id", "") in {"mission", "attempt"}
    ]
    assert assigned == []


@pytest.mark.parametrize("lock", ["base", "test", "bench", "bootstrap"])
def test_a_lock_names_versions_and_hashes_and_no_address(lock: str):
    text = (ROOT / f"requirements/{lock}.lock").read_text()
    pinned = re.findall(r"^[A-Za-z0-9_.-]+==\S+.*\\$", text, re.MULTILINE)
    assert pinned
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text
    assert "--index-url" not in text


def test_a_cpu_install_carries_no_gpu_library():
    lines = (ROOT / "requirements/base.lock").read_text().splitlines()
    gpu = [line for line in lines if line.startswith("nvidia-") and "sys_platform == 'never'" not in line]
    assert gpu == []


def test_no_tracked_text_names_a_package_index_or_a_home_folder():
    index = "|".join(
        [r"py" + r"pi\.org", "python" + r"hosted\.org", "registry" + r"\.npm" + r"js", r"/ro" + "ot/", r"/wo" + "rk/"]
    )
    found = [
        f"{_named(file)}: {match.group(0)}"
        for file in _tracked()
        if file.suffix not in {".png", ".mcap", ".parquet", ".lock"}
        for match in re.finditer(index, file.read_text(errors="replace"))
    ]
    assert found == []
