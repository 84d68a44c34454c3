"""Settings and the composition root: what is read, what is defaulted, what is refused."""

import stat
from pathlib import Path

import pytest

from fleet.adapters import ADAPTERS, opener
from fleet.errors import Conflict, Forbidden, Invalid, NotFound, Rejected, TooLarge, Unauthorized, Unavailable
from fleet.runtime import database_url, open_runtime
from fleet.settings import Settings, child_environment, read_settings


def test_a_setting_is_read_from_the_environment_by_its_prefix(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YARDMASTER_LOG_LEVEL", "debug")
    assert read_settings().log_level == "debug"


def test_a_nonsense_setting_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YARDMASTER_WEBHOOK_BODY_MAX_BYTES", "lots")
    with pytest.raises(Invalid, match=r"YARDMASTER_WEBHOOK_BODY_MAX_BYTES: .*it is .lots"):
        read_settings()


def test_secrets_do_not_show_when_settings_are_printed():
    assert "hunter2" not in repr(Settings(signing_key="hunter2", objects_secret_key="hunter2"))


def test_a_child_gets_our_environment_and_what_is_added(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YARDMASTER_WORKER_NAME", "w")
    environment = child_environment({"EXTRA": "1"})
    assert (environment["YARDMASTER_WORKER_NAME"], environment["EXTRA"]) == ("w", "1")


def test_the_embedded_database_lies_in_the_var_folder(tmp_path: Path):
    assert database_url(Settings(var_dir=tmp_path)) == f"sqlite:///{tmp_path}/yardmaster.db"
    assert database_url(Settings(database_url="postgresql+psycopg://x/y")) == "postgresql+psycopg://x/y"


def test_production_refuses_to_sign_without_a_key(tmp_path: Path):
    runtime = open_runtime(Settings(var_dir=tmp_path, environment="production"))
    with pytest.raises(Invalid, match="YARDMASTER_SIGNING_KEY"):
        _ = runtime.objects
    runtime.engine.dispose()


def test_the_development_key_is_made_once_and_private(tmp_path: Path):
    for _ in range(2):
        runtime = open_runtime(Settings(var_dir=tmp_path))
        runtime.objects.put("a", b"")
        runtime.engine.dispose()
    key = tmp_path / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 64
    assert [path.name for path in tmp_path.iterdir() if "signing" in path.name] == ["signing.key"]


def test_an_unknown_manufacturer_is_told_with_the_known_ones():
    with pytest.raises(NotFound, match=r"known: .*simulated"):
        opener("acme")


def test_every_adapter_of_the_registry_can_be_opened():
    assert [callable(opener(name)) for name in ADAPTERS] == [True] * len(ADAPTERS)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFound, "not_found", 404),
        (Conflict, "conflict", 409),
        (Invalid, "invalid", 422),
        (TooLarge, "too_large", 413),
        (Forbidden, "forbidden", 403),
        (Unauthorized, "unauthorized", 401),
        (Rejected, "rejected", 502),
        (Unavailable, "unavailable", 503),
    ],
)
def test_every_error_has_a_stable_code_a_status_and_its_fields(error, code: str, status: int):
    raised = error("what was wrong", robot="amr-01")
    assert (raised.code, raised.status, raised.message, raised.fields) == (
        code,
        status,
        "what was wrong",
        {"robot": "amr-01"},
    )
