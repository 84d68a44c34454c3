"""Signatures and cursors of the simulated cloud."""

from datetime import UTC, datetime

import pytest

from fleet.adapters.simulated.cloud import cursor, position
from fleet.adapters.simulated.site import SiteOptions, check
from fleet.adapters.simulated.webhooks import signature
from fleet.errors import Invalid

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_is_that_of_the_published_example():
    signed = signature(
        SECRET,
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at=datetime.fromtimestamp(1_614_265_330, UTC),
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "news", [{"delivery_id": "msg_2"}, {"sent_at": datetime(2026, 3, 2, tzinfo=UTC)}, {"body": b"{ }"}]
)
def test_another_id_time_or_body_has_another_signature(news):
    said = {"delivery_id": "msg_1", "sent_at": datetime(2026, 3, 1, tzinfo=UTC), "body": b"{}"}
    assert signature(SECRET, **said) != signature(SECRET, **(said | news))


def test_a_cursor_is_found_again_in_its_own_journal_only():
    assert position("a1b2", cursor("a1b2", 17)) == 17
    assert position("ffff", cursor("a1b2", 17)) == 0


@pytest.mark.parametrize("nonsense", ["", "17", "a1b2-", "a1b2--3", "a1b2-x", "-", "a1b2-²"])
def test_a_cursor_that_is_none_begins_at_the_start(nonsense):
    assert position("a1b2", nonsense) == 0


def test_a_blocked_station_that_is_not_on_the_map_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match=r"atlantis.*press-1"):
        check(SiteOptions(credential="c", blocked_once=["atlantis"]))


def test_webhooks_without_their_secret_are_refused():
    with pytest.raises(Invalid, match="whsec_"):
        check(SiteOptions(credential="c", webhook_url="http://127.0.0.1:1/hook"))


def test_secrets_are_not_shown_with_the_options():
    shown = repr(SiteOptions(credential="hush-1", webhook_secret="hush-2", device_token="hush-3"))
    assert "hush" not in shown
