"""Values that no database and no answer can keep: refused with 422 and by name, and nothing of them stays."""

import httpx
import pytest
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlmodel import select

from api.strict import faults
from fleet.requests import Request
from fleet.runtime import Runtime
from ingestion.models import Upload
from missions.models import Mission

NOT_TEXT = {"NUL": r'"a\u0000b"', "half a pair": r'"a\ud800b"', "the other half": r'"\udfff"'}
NOT_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
MISSION = '"site": "north", "name": "n", "key": "k-1", "tasks": [{"kind": "wait"}]'
REQUEST = '"kind": "train-rul", "key": "k-1", "parameters": {"seed": 7}'
UPLOAD = f'"filename": "a.mcap", "size": 1, "sha256": "{"0" * 64}", "robot": "amr-01"'
# A field named twice has its last value.
PLACES = {
    "body.name": ("/v1/missions", MISSION, '"name": {}'),
    "body.key": ("/v1/missions", MISSION, '"key": {}'),
    "body.site": ("/v1/missions", MISSION, '"site": {}'),
    "body.robot": ("/v1/missions", MISSION, '"robot": {}'),
    "body.required_capabilities.0": ("/v1/missions", MISSION, '"required_capabilities": [{}]'),
    "body.tasks.0.station": ("/v1/missions", MISSION, '"tasks": [{{"kind": "go_to", "station": {}}}]'),
    "body.tasks.0.parameters.a": ("/v1/missions", MISSION, '"tasks": [{{"kind": "wait", "parameters": {{"a": {}}}}}]'),
    "body.parameters.a.0.b": ("/v1/requests", REQUEST, '"parameters": {{"a": [{{"b": {}}}]}}'),
    "body.filename": ("/v1/uploads", UPLOAD, '"filename": {}'),
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def runtime(request: pytest.FixtureRequest, runtime: Runtime) -> Runtime:
    """The API stands on either database."""
    return request.getfixturevalue("postgres_runtime") if request.param == "postgresql" else runtime


@pytest.fixture
def post(operator: httpx.Client):
    """Posts this text as JSON."""
    return lambda path, text: operator.post(path, content=text, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("text", NOT_TEXT.values(), ids=NOT_TEXT.keys())
def test_text_that_cannot_be_kept_is_refused_by_its_place(post, runtime: Runtime, text: str):
    for place, (path, body, field) in PLACES.items():
        response = post(path, f"{{{body}, {field.format(text)}}}")
        assert response.status_code == 422, place
        assert [fault["where"] for fault in response.json()["errors"]] == [place]
    with runtime.reading() as session:
        assert [session.exec(select(table)).first() for table in (Mission, Request, Upload)] == [None] * 3


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_numbers_that_json_does_not_have_are_refused_by_their_place(post, number: str):
    for place in ("body.tasks.0.parameters.a", "body.parameters.a.0.b"):
        path, body, field = PLACES[place]
        response = post(path, f"{{{body}, {field.format(number)}}}")
        assert (response.status_code, response.json()["errors"][0]["where"]) == (422, place)
        assert "finite" in response.json()["detail"]


def test_the_names_of_fields_are_looked_at_too(post):
    response = post("/v1/requests", f'{{{REQUEST}, "parameters": {{"a\\u0000": 1}}}}')
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == "body.parameters.a name"


def test_of_many_faults_the_first_twenty_are_told(post):
    many = ", ".join(["NaN"] * 5000)
    response = post("/v1/requests", f'{{{REQUEST}, "parameters": {{"a": [{many}]}}}}')
    assert (response.status_code, len(response.json()["errors"])) == (422, 20)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_body_nested_without_end_is_refused(post, opening: str):
    assert post("/v1/requests", opening * 100_000).status_code in (400, 422)
    closing = "]" if opening == "[" else "}"
    deep = opening * 30_000 + "1" + closing * 30_000
    assert post("/v1/requests", f'{{{REQUEST}, "parameters": {{"a": {deep}}}}}').status_code in (400, 422)


@pytest.mark.parametrize("body", ["", "null", "[]", "7", '"text"', "{", '{"kind"'])
def test_what_is_no_object_is_refused(post, body: str):
    response = post("/v1/requests", body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


def test_whole_characters_of_every_script_are_kept(operator):
    parameters = {"名": ["Ω", "\U0001f916", "‮", "\x1b"], "a": {"b": [None, True, 0.5, 10**300]}}
    made = operator.post("/v1/requests", json={"kind": "train-rul", "key": "ключ", "parameters": parameters})
    assert made.status_code == 202
    assert operator.get(made.headers["location"]).json()["parameters"] == parameters


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_instant_beyond_the_calendar_is_refused(post, operator, instant: str):
    response = post("/v1/missions", f'{{{MISSION}, "not_after_at": "{instant}"}}')
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert operator.get("/v1/missions").json()["items"] == []


@pytest.mark.parametrize("query", ["robot=%00", "robot=%ED%A0%80", "robot=%FF", f"robot={'a' * 5000}"])
def test_a_name_that_nothing_can_have_finds_nothing_or_is_refused(operator, query: str):
    response = operator.get(f"/v1/bags?{query}")
    assert response.status_code in (200, 422)
    assert response.json().get("items", []) == []


def test_the_database_refusing_for_another_reason_is_our_fault_and_not_the_senders(app, operator):
    def missing() -> None:
        raise ProgrammingError("SELECT", {}, Exception("no such table: secrets"))

    def twice() -> None:
        raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: secrets.name"))

    app.add_api_route("/missing", missing)
    app.add_api_route("/twice", twice)
    for path in ("/missing", "/twice"):
        response = operator.get(path)
        assert (response.status_code, response.json()["code"]) == (500, "internal_server_error")
        assert "secrets" not in response.text


@pytest.mark.parametrize("path", ["/v1/missions/", "/v1/uploads/", "/v1/bags/", "/healthz/"])
def test_no_redirect_leads_to_a_host_that_the_sender_named(anonymous, path: str):
    response = anonymous.get(path, headers={"Host": "evil.example"})
    assert response.status_code in (404, 405)
    assert "location" not in response.headers


def test_a_sound_value_has_no_faults():
    assert list(faults({"a": [1, 2.5, "x", None, True, {"b": {}}]})) == []


def test_faults_are_found_at_any_depth_without_recursion():
    deep: object = float("nan")
    for _ in range(900):
        deep = [deep]
    ((place, why),) = faults(deep)
    assert (len(place), why[:8]) == (900, "This is ")
