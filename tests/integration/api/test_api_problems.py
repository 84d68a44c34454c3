"""Errors leave as problems of RFC 9457, nothing of our inside with them; the documentation needs no network."""

import re

import pytest
from sqlalchemy.exc import OperationalError

MEMBERS = {"type", "title", "status", "detail", "code", "instance"}


@pytest.fixture
def broken(monkeypatch):
    """Makes the list of bags fail with an error."""

    def do(error: Exception) -> None:
        def page_of(*_arguments):
            raise error

        monkeypatch.setattr("api.routes.bags.page_of", page_of)

    return do


def test_every_kind_of_error_is_a_problem(operator, anonymous, broken):
    broken(RuntimeError("inside"))
    responses = [
        operator.get("/v1/nothing"),
        operator.delete("/v1/robots"),
        operator.get("/v1/robots", params={"limit": "many"}),
        operator.get("/v1/missions/nonsense"),
        operator.post("/v1/missions", content=b"{"),
        anonymous.get("/v1/robots"),
        operator.get("/v1/bags"),
    ]
    assert [response.status_code for response in responses] == [404, 405, 422, 422, 422, 401, 500]
    for response in responses:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json().keys() >= MEMBERS
        assert response.json()["status"] == response.status_code


def test_an_unforeseen_error_tells_nothing_of_our_inside(operator, broken):
    broken(RuntimeError("secret at /srv/app.py line 7"))
    response = operator.get("/v1/bags")
    assert response.status_code == 500
    assert not re.search(r"secret|RuntimeError|Traceback|\.py", response.text)


def test_a_database_that_is_away_may_be_tried_again(operator, broken):
    broken(OperationalError("SELECT secret", {}, Exception("database is locked")))
    response = operator.get("/v1/bags")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "2"
    assert "SELECT" not in response.text


def test_a_refused_value_is_not_echoed(operator):
    response = operator.post("/v1/requests", json={"kind": "train-rul", "key": "k", "password": "hunter2"})
    assert response.status_code == 422
    assert "hunter2" not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/v1/nothing", "/v1/bags"])
def test_every_response_carries_the_security_headers(operator, broken, path: str):
    broken(RuntimeError("also when it breaks"))
    headers = operator.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_documentation_needs_no_network_and_no_script(anonymous):
    page = anonymous.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"<script|https?://|<link|<img", page.text)
    assert "'unsafe-inline'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]


def test_the_documentation_shows_every_route_with_words(anonymous, app):
    page, described = anonymous.get("/docs").text, anonymous.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        assert path in page
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} has no description"


def test_the_description_tells_errors_as_the_problems_they_are(anonymous):
    described = anonymous.get("/openapi.json").json()
    assert "HTTPValidationError" not in described["components"]["schemas"]
    assert set(described["components"]["schemas"]["Problem"]["required"]) >= MEMBERS
    for methods in described["paths"].values():
        for operation in methods.values():
            errors = [answer for code, answer in operation["responses"].items() if code >= "400"]
            assert all(list(answer["content"]) == ["application/problem+json"] for answer in errors)


def test_every_reference_in_the_description_leads_somewhere(anonymous):
    text = anonymous.get("/openapi.json").text
    described = anonymous.get("/openapi.json").json()
    for name in set(re.findall(r"#/components/schemas/([A-Za-z0-9_]+)", text)):
        assert name in described["components"]["schemas"], name


def test_every_route_but_health_and_what_is_signed_asks_for_a_token(anonymous):
    described = anonymous.get("/openapi.json").json()
    open_to_all = {
        path
        for path, methods in described["paths"].items()
        for operation in methods.values()
        if not operation.get("security")
    }
    signed_deliveries = {"/v1/webhooks/{account_id}"}
    signed_addresses = {"/v1/uploads/{upload_id}/parts/{number}/content", "/v1/bags/{bag_id}/content/{number}"}
    assert open_to_all == {"/healthz", "/readyz"} | signed_deliveries | signed_addresses
