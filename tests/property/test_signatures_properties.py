"""Signatures of webhooks: whatever is signed is verified, and nothing that was changed on the way is."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.errors import Unauthorized
from ingestion.signatures import sign, verify

SENT_AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
secrets = st.binary(min_size=16, max_size=64).map(lambda key: f"whsec_{base64.b64encode(key).decode()}")
delivery_ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)
bodies = st.binary(max_size=300)


def _headers(secret: str, delivery_id: str, body: bytes) -> dict[str, str]:
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(SENT_AT.timestamp())),
        "webhook-signature": sign(secret, delivery_id=delivery_id, sent_at=SENT_AT, body=body),
    }


@given(secret=secrets, delivery_id=delivery_ids, body=bodies)
def test_what_is_signed_is_verified(secret: str, delivery_id: str, body: bytes):
    assert verify(secret, _headers(secret, delivery_id, body), body, now=SENT_AT) == delivery_id


@given(secret=secrets, delivery_id=delivery_ids, body=bodies, other=bodies)
def test_another_body_is_refused(secret: str, delivery_id: str, body: bytes, other: bytes):
    assume(body != other)
    with pytest.raises(Unauthorized):
        verify(secret, _headers(secret, delivery_id, body), other, now=SENT_AT)


@given(secret=secrets, other=secrets, delivery_id=delivery_ids, body=bodies)
def test_another_secret_is_refused(secret: str, other: str, delivery_id: str, body: bytes):
    assume(secret != other)
    # HMAC pads short keys with zero bytes (RFC 2104), so keys that differ only by those are one key.
    assume(base64.b64decode(secret[6:]).rstrip(b"\0") != base64.b64decode(other[6:]).rstrip(b"\0"))
    with pytest.raises(Unauthorized):
        verify(other, _headers(secret, delivery_id, body), body, now=SENT_AT)


@given(secret=secrets, delivery_id=delivery_ids, other=delivery_ids, body=bodies)
def test_a_delivery_signed_under_another_id_is_refused(secret: str, delivery_id: str, other: str, body: bytes):
    assume(delivery_id != other)
    headers = _headers(secret, delivery_id, body) | {"webhook-id": other}
    with pytest.raises(Unauthorized):
        verify(secret, headers, body, now=SENT_AT)


@given(
    secret=secrets,
    body=bodies,
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=60)
    ),
)
def test_arbitrary_headers_are_refused_and_never_an_error(secret: str, body: bytes, headers: dict[str, str]):
    with pytest.raises(Unauthorized):
        verify(secret, headers, body, now=SENT_AT)
