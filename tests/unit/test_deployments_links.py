"""The DDS domain of a platform is its own, and its broker speaks to nobody outside."""

import socket

import pytest

from deployments.links import DOMAINS, Links, broker_command, own_domain, write_broker_config
from fleet.errors import Unavailable


def test_two_platforms_of_one_machine_have_different_domains():
    with own_domain() as one, own_domain() as other:
        assert one != other
        assert {one, other} <= set(DOMAINS)


def test_a_domain_whose_ports_somebody_uses_is_left_alone():
    with own_domain() as free:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.bind(("127.0.0.1", 7400 + 250 * free + 10 + 2 * 3))
        with own_domain() as chosen:
            assert chosen != free


def test_a_domain_is_free_again_when_its_platform_is_gone(monkeypatch):
    monkeypatch.setattr("deployments.links.DOMAINS", range(97, 98))
    for _ in range(2):
        with own_domain() as domain:
            assert domain == 97


def test_when_every_domain_is_taken_it_says_so(monkeypatch):
    monkeypatch.setattr("deployments.links.DOMAINS", range(42, 42))
    with pytest.raises(Unavailable, match="DDS domains"), own_domain():
        pytest.fail("a domain was found where there is none")


def test_the_address_names_domain_and_loopback():
    assert Links(42).ros2_url == "dds://?domain=42&peers=127.0.0.1&interface=127.0.0.1&participants=19"


def test_the_broker_listens_on_loopback_and_writes_nothing(tmp_path):
    lines = write_broker_config(tmp_path, 1884).read_text().splitlines()
    assert "listener 1884 127.0.0.1" in lines
    assert "persistence false" in lines


def test_a_broker_outside_the_path_is_found_where_debian_keeps_it(monkeypatch):
    found = broker_command()
    monkeypatch.setenv("PATH", "/nowhere")
    assert (broker_command() is None) == (found is None)
