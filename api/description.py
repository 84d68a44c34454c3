"""The OpenAPI description: FastAPI's, with every error told as the problem that it really is."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE, Problem

_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def install(app: FastAPI) -> None:
    """Let `app` describe itself so."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = made["components"]["schemas"]
    for name in _FASTAPI_ERRORS:
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    for methods in made["paths"].values():
        for operation in methods.values():
            _tell_problems(operation["responses"])
    return made


def _tell_problems(responses: dict[str, dict[str, Any]]) -> None:
    for code, response in responses.items():
        if code.startswith(("4", "5")):
            response["content"] = _PROBLEM
            response["description"] = response["description"].replace("Validation Error", "Unprocessable Content")
