"""The page at /docs: every route in words, made from the OpenAPI description, needing no script and no network."""

from collections.abc import Iterator
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --key: #0a6cbd; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem } h2 { margin-top: 2.5rem; text-transform: capitalize }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; padding: .5rem .9rem }
summary { cursor: pointer } summary b { display: inline-block; min-width: 4.2rem; color: var(--key) }
summary span { opacity: .75 } code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: var(--soft); border-radius: .4rem; padding: .7rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top }
"""


def page(description: dict[str, Any]) -> str:
    """The whole page for this OpenAPI description."""
    about = description["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(about['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(about['title'])} <small>{escape(about['version'])}</small></h1>"
        f"{_paragraphs(about.get('description', ''))}"
        f"<p>Machine-readable: <a href=/openapi.json>/openapi.json</a></p>{''.join(_nouns(description))}</html>"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _nouns(description: dict[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation, description))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(operations)}"


def _operation(method: str, path: str, operation: dict[str, Any], description: dict[str, Any]) -> str:
    return (
        f"<details id='{escape(operation['operationId'])}'><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<span>{escape(operation.get('summary', ''))}</span></summary>{_paragraphs(operation.get('description', ''))}"
        f"{_parameters(operation)}{_body(operation, description)}{_answers(operation)}</details>"
    )


def _parameters(operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}{', needed' if one.get('required') else ''}"
        f"<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    )
    return f"<table><tr><th>Parameter<th>Where<th>Meaning{rows}</table>" if rows else ""


def _body(operation: dict[str, Any], description: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    if not name:
        return ""
    found = description["components"]["schemas"][name]
    needed = set(found.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{escape(_type(kind))}{', needed' if field in needed else ''}"
        f"<td>{escape(kind.get('description', ''))}"
        for field, kind in found.get("properties", {}).items()
    )
    return f"<table><tr><th>JSON field<th>Type<th>Meaning{rows}</table>"


def _type(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        return str(kind["$ref"].rpartition("/")[2])
    if "anyOf" in kind:
        return " or ".join(_type(one) for one in kind["anyOf"])
    if kind.get("type") == "array":
        return f"list of {_type(kind.get('items', {}))}"
    return str(kind.get("format") or kind.get("type") or "anything")


def _answers(operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(code)}</code><td>{escape(answer.get('description', ''))}"
        for code, answer in sorted(operation.get("responses", {}).items())
    )
    return f"<table><tr><th>Status<th>Meaning{rows}</table>"
