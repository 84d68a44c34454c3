"""The plain parts of the launcher: ports, surroundings, deaths that count, tokens kept for their owner alone."""

import socket
import stat
from dataclasses import astuple
from pathlib import Path
from uuid import UUID

import pytest

from deployments.access import Access, access_of, read_access, write_access
from deployments.local import check_space
from deployments.ports import HOST, Ports, any_free, choose_ports, is_free
from deployments.supervise import recent, tail_of
from deployments.surroundings import surroundings
from fleet.errors import Conflict, Invalid, NotFound, Unavailable

ACCESS = Access(
    organisation="demo",
    organisation_id=UUID(int=1),
    site="north-plant",
    account_id=UUID(int=2),
    customer_token="ym_customer",
)


@pytest.fixture
def taken():
    """A loopback port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_base_gives_four_ports_in_a_row():
    base = 41_000
    assert astuple(choose_ports(base)) == (base, base + 1, base + 2, base + 3)


def test_a_chosen_port_in_use_is_named_with_advice(taken):
    with pytest.raises(Conflict, match=rf"Port {taken} .* is in use.*choose another --port-base"):
        choose_ports(taken)


@pytest.mark.parametrize("base", [0, 80, 65_533, -1])
def test_a_port_base_out_of_range_is_refused(base):
    with pytest.raises(Invalid, match="from 1024 to 65532"):
        choose_ports(base)


def test_without_a_base_every_port_is_free_and_different():
    ports = astuple(choose_ports(None))
    assert len(set(ports)) == 4
    assert all(is_free(port) for port in ports)


def test_a_usual_port_in_use_is_replaced_by_a_free_one(taken, monkeypatch):
    monkeypatch.setattr("deployments.ports.Ports.__init__.__defaults__", (taken, any_free(), any_free(), any_free()))
    assert choose_ports(None).prefect != taken


def test_only_deaths_of_the_last_minute_count():
    assert recent([0.0, 30.0, 61.0, 90.0]) == [30.0, 61.0, 90.0]


def test_the_tail_of_a_log_is_bounded(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert tail_of(log).splitlines()[0] == "line 9975"
    assert tail_of(tmp_path / "none.log") == ""


def test_everything_a_tool_writes_lies_in_the_folder_and_nothing_is_told_to_anybody():
    found = surroundings(Path("/somewhere/var"), Ports())
    folders = {found[name] for name in ("PREFECT_HOME", "DAGSTER_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME")}
    assert all(folder.startswith("/somewhere/var/") for folder in folders)
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert found["DO_NOT_TRACK"] == "1"


def test_every_address_is_on_loopback():
    found = surroundings(Path("/v"), Ports(1, 2, 3))
    urls = [value for name, value in found.items() if name.endswith("_URL") and value.startswith("http")]
    assert urls
    assert all(url.startswith(f"http://{HOST}:") for url in urls)


def test_tokens_are_written_for_their_owner_alone_and_read_back(tmp_path):
    path = write_access(tmp_path, ACCESS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_access(tmp_path) == ACCESS


def test_tokens_never_show_in_a_log_line():
    assert "ym_customer" not in repr(ACCESS)


def test_a_folder_without_tokens_says_what_to_run(tmp_path):
    with pytest.raises(NotFound, match="yardmaster up"):
        access_of(tmp_path)


def test_a_disk_that_is_nearly_full_stops_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("deployments.local.SPACE_MIN_BYTES", 1 << 60)
    with pytest.raises(Unavailable, match=r"has \d+ MB free; Yardmaster needs .* Free some space"):
        check_space(tmp_path)
