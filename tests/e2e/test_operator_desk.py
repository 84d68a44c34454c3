"""An operator's evening in a real browser on the real pages: request a round, watch it, cancel it, see the schedules.

`YARDMASTER_DOCS_IMAGES=docs/images make proof` (or pytest on this file) also writes the pictures of docs/operators.md.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from deployments.local import Platform, Wanted, launched

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(1200)]
WITHIN_S = 180  # a second or two on an idle machine
Seen = TypeVar("Seen")
LONG = [{"kind": "wait", "parameters": {"duration_s": 2400}}]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with launched(Wanted(tmp_path_factory.mktemp("operator") / "var"), say=lambda _text: None) as running:
        yield running


@pytest.fixture(scope="module")
def prefect(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{platform.prefect_url}/api", timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def ids(prefect: httpx.Client) -> dict[str, str]:
    return {row["name"]: row["id"] for row in prefect.post("/deployments/filter", json={}).json()}


@pytest.fixture(scope="module")
def page(platform: Platform):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 800}, base_url=platform.prefect_url)
        opened.set_default_timeout(1000 * WITHIN_S)
        yield opened
        browser.close()


@pytest.fixture
def picture(page, tmp_path: Path) -> Callable[[str], Path]:
    def take(name: str) -> Path:
        folder = Path(os.environ.get("YARDMASTER_DOCS_IMAGES", tmp_path))
        folder.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1500)  # the pages move their parts into place
        path = folder / f"{name}.png"
        page.screenshot(path=path)
        Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)  # a third
        return path

    return take


@pytest.fixture
def press(prefect: httpx.Client, ids: dict[str, str]) -> Callable[..., str]:
    def start(deployment: str, **parameters: object) -> str:
        path = f"/deployments/{ids[deployment]}/create_flow_run"
        body = {"parameters": parameters, "idempotency_key": str(uuid4())}
        for _ in range(20):  # SQLite under load answers 503 (locked) now and then; the pages try again too
            if (answer := prefect.post(path, json=body)).status_code != 503:
                break
            time.sleep(0.5)
        return str(answer.raise_for_status().json()["id"])

    return start


@pytest.fixture
def ended(prefect: httpx.Client) -> Callable[[str], str]:
    def wait(run_id: str) -> str:
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            state = prefect.get(f"/flow_runs/{run_id}").json()["state_type"]
            if state in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                return str(state)
            time.sleep(0.3)
        raise AssertionError(run_id)

    return wait


@pytest.fixture
def submitted(page, prefect: httpx.Client, ids: dict[str, str]) -> Callable[[str], str]:
    """Press Submit below a form; gives the run that Prefect makes of it."""

    def press_submit(deployment: str) -> str:
        wanted = {"flow_runs": {"deployment_id": {"any_": [ids[deployment]]}}}
        before = {run["id"] for run in prefect.post("/flow_runs/filter", json=wanted).json()}
        page.get_by_role("button", name="Submit").click()
        made = until(
            lambda: [
                run["id"] for run in prefect.post("/flow_runs/filter", json=wanted).json() if run["id"] not in before
            ]
        )
        return str(made[0])

    return press_submit


def until(seen: Callable[[], Seen | None]) -> Seen:
    """What `seen` gives as soon as it gives something."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        if found := seen():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not seen within {WITHIN_S} s")


def choose(page, index: int, words: str) -> None:
    """In the list of choices `index` of a form, the one that says `words`."""
    page.locator(".p-select-button__control").nth(index).click()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option").filter(has_text=words).click()


def test_the_deployments_page_lists_what_an_operator_may_want(page, picture):
    page.goto("/deployments")
    search = page.get_by_placeholder("Search deployments")
    for name in ("request-mission", "approve-mission", "create-schedule", "hold", "publish-report"):
        search.fill(name)
        page.get_by_role("link", name=name).first.wait_for()
    search.fill("")
    assert picture("deployments").stat().st_size > 10_000


def test_a_mission_is_cancelled_through_the_form(page, picture, ids, press, submitted, ended):
    asked = press("request-mission", mission={"name": "Guard the gate", "tasks": LONG})
    page.goto(f"/deployments/deployment/{ids['control-mission']}/run")
    page.get_by_text("The mission's id, or its name").wait_for()
    page.locator("textarea").nth(0).fill("Guard the gate")
    choose(page, 0, "cancel")
    picture("control-mission")
    assert [ended(submitted("control-mission")), ended(asked)] == ["COMPLETED", "CANCELLED"]


def test_a_schedule_is_made_in_its_form_and_what_it_does_next_is_seen(page, picture, prefect, ids, submitted, ended):
    page.goto(f"/deployments/deployment/{ids['create-schedule']}/run")
    page.get_by_text("An RRULE such as").wait_for()
    for index, words in enumerate(("FREQ=DAILY;BYHOUR=6;BYMINUTE=0", "", "Europe/Berlin", "Morning inspection")):
        page.locator("textarea").nth(index).fill(words)
    choose(page, 2, "one mission for every inspection point")
    page.locator("textarea").nth(0).scroll_into_view_if_needed()
    picture("create-schedule")
    assert ended(submitted("create-schedule")) == "COMPLETED"

    waiting = {"flow_runs": {"name": {"like_": "Morning inspection"}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = until(lambda: found if len(found := prefect.post("/flow_runs/filter", json=waiting).json()) == 5 else None)
    page.goto(f"/deployments/deployment/{ids['scheduled-round']}?tab=Upcoming")
    for run in runs:
        assert run["name"].endswith("06:00")
        page.get_by_text(run["name"]).first.wait_for()
    picture("upcoming")
    page.goto("/artifacts/key/schedules-board")
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.get_by_text(runs[0]["name"]).first.wait_for()
    picture("schedules-board")


def test_a_robot_is_held_in_the_form_until_it_is_released(page, picture, platform, ids, press, submitted, ended):
    page.goto(f"/deployments/deployment/{ids['hold']}/run")
    page.get_by_text("Why; whoever wonders").wait_for()
    choose(page, 0, "robot")
    page.locator("textarea").nth(0).fill("Its wheels are changed")
    page.get_by_role("button", name="str", exact=True).first.click()
    page.locator("textarea").nth(1).fill("amr-04")
    picture("hold")
    run_id = submitted("hold")
    assert ended(run_id) == "COMPLETED"
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("robot amr-04 is held: Its wheels are changed").first.wait_for()
    assert ended(press("release-hold", scope="robot", robot="amr-04")) == "COMPLETED"


def test_a_mission_is_approved_in_the_form_that_resume_opens(page, picture, prefect, press, ended):
    mission = {"name": "Enter the tank", "approval_needed": True, "tasks": [{"kind": "go_to", "station": "press-1"}]}
    asked = press("request-mission", mission=mission)
    waiting = {"flow_runs": {"name": {"any_": ["Approve Enter the tank"]}, "state": {"type": {"any_": ["PAUSED"]}}}}
    found = until(lambda: prefect.post("/flow_runs/filter", json=waiting).json())
    page.goto(f"/runs/flow-run/{found[0]['id']}")
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("Reject cancels the mission.").wait_for()
    page.get_by_text("Asked for by prefect:request-mission").wait_for()
    page.locator(".p-modal .p-select-button__control").first.click()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option").filter(has_text="approve").click()
    picture("approve")
    page.get_by_role("button", name="Submit").click()
    assert [ended(found[0]["id"]), ended(asked)] == ["COMPLETED", "COMPLETED"]


def test_the_round_form_explains_every_field(page, picture, ids):
    page.goto(f"/deployments/deployment/{ids['request-round']}/run")
    for words in ("The missions of the round", "What the round is called", "Where."):
        page.get_by_text(words).first.wait_for()
    picture("request-round")


def test_a_round_shows_its_missions_when_it_is_done(page, picture, press, ended):
    run_id = press("request-round", template="one mission for every inspection point", name="Evening inspection")
    assert ended(run_id) == "COMPLETED"
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Inspect press-1: SUCCEEDED").first.wait_for()
    picture("round-log")
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text("round-progress").first.wait_for()
    picture("round-artifacts")


def test_the_missions_board_shows_what_is_going_on(page, picture, prefect, press, ended):
    ended(press("request-round", template="one mission for every inspection point", name="Morning inspection"))
    press("request-mission", mission={"name": "Guard the dock", "tasks": LONG})
    found = prefect.post("/artifacts/latest/filter", json={"artifacts": {"key": {"any_": ["missions-board"]}}}).json()
    page.goto(f"/artifacts/artifact/{found[0]['latest_id']}")
    page.get_by_text("Live missions").first.wait_for()
    page.get_by_text("Inspect press-1").first.wait_for()
    picture("missions-board")


def test_a_run_is_cancelled_on_its_page_and_its_mission_with_it(page, picture, prefect, press, ended):
    run_id = press("request-round", missions=[{"name": "Patrol", "tasks": LONG}], name="Night patrol")
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Running").first.wait_for()
    page.get_by_text("Round Night patrol is asked for").first.wait_for()
    page.get_by_role("button", name="Cancel").first.click()
    confirm = page.get_by_role("button", name="Confirm")
    confirm.wait_for()
    picture("cancel")
    confirm.click()
    assert ended(run_id) == "CANCELLED"
    page.get_by_text("Cancelled").first.wait_for()
    picture("cancelled")


def test_the_schedule_of_the_polls_is_shown_and_can_be_paused(page, picture, ids):
    page.goto(f"/deployments/deployment/{ids['poll-manufacturer']}")
    page.get_by_text("each-minute").wait_for()
    picture("schedule")


def test_nothing_the_pages_load_comes_from_elsewhere(page, platform):
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto("/runs")
    page.get_by_text("Runs").first.wait_for()
    page.wait_for_timeout(2000)
    away = [url for url in seen if not url.startswith((platform.prefect_url, "data:", "blob:", "ws://127.0.0.1"))]
    assert away == []
