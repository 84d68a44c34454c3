"""The documents are true: nothing a user can set, call, start or read about is missing from them, and no link is broken."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from api.app import create_app
from deployments.cli.app import app as cli
from fleet.adapters import ADAPTERS
from fleet.runtime import Runtime
from fleet.settings import Settings

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs/reference.md").read_text()
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def _commands(group, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_reference_with_its_meaning(name: str):
    assert f"| `YARDMASTER_{name.upper()}` |" in REFERENCE
    assert Settings.model_fields[name].description in REFERENCE


def test_every_route_is_in_the_reference(runtime: Runtime):
    routes = {
        f"| `{method.upper()} {path}` |"
        for path, operations in create_app(runtime).openapi()["paths"].items()
        for method in operations
    }
    assert {route for route in routes if route not in REFERENCE} == set()


def test_every_deployment_is_in_the_reference_and_no_other():
    named = {made["name"] for made in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    section = REFERENCE.split("## Deployments in Prefect")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == named


def test_every_command_is_in_the_reference():
    commands = set(_commands(typer.main.get_command(cli), "yardmaster"))
    assert {command for command in commands if f"| `{command}` |" not in REFERENCE} == set()


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_is_in_the_reference_and_has_its_page(name: str):
    assert f"| `{name}` |" in REFERENCE
    assert (ROOT / f"fleet/adapters/{name}/README.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_of_a_page_leads_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if not re.match(r"[a-z]+:|/", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_make_target_that_a_page_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)", page.read_text())}
    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()
