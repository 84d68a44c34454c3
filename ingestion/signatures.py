"""Signatures of webhooks as Standard Webhooks writes them: `v1,` and base64 of HMAC-SHA256 over "id.timestamp.body".

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fleet.errors import Invalid, Unauthorized

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
TOLERANCE = timedelta(minutes=5)
SECRET_PREFIX = "whsec_"  # noqa: S105  the prefix that marks a secret, not one
KEY_MIN_BYTES = 16
SIGNATURES_MAX = 16

_DELIVERY_ID = re.compile(r"[!-~]{1,200}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)


def sign(secret: str, *, delivery_id: str, sent_at: datetime, body: bytes) -> str:
    """The value of `webhook-signature` for these raw bytes.

    Raises:
        Invalid: the secret is not `whsec_` and base64 of at least 16 bytes.
    """
    return _signature(_key_of(secret), delivery_id, str(int(sent_at.timestamp())), body)


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The delivery's id, when one of its signatures is ours and it was sent within five minutes of `now`.

    `headers` have lower-case names. Several signatures may stand side by side, parted by blanks (rotation of keys).

    Raises:
        Unauthorized: a header is missing or malformed, the time is too far off, or no signature fits.
        Invalid: our own secret is malformed.
    """
    key = _key_of(secret)
    delivery_id = _header(headers, ID_HEADER)
    timestamp = _header(headers, TIMESTAMP_HEADER)
    signatures = _header(headers, SIGNATURE_HEADER).split(" ")
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise Unauthorized(f"The header {ID_HEADER} is not 1 to 200 visible ASCII characters.", header=ID_HEADER)
    _check_time(timestamp, now)
    expected = _signature(key, delivery_id, timestamp, body).encode()
    # Every signature is compared, so that the time taken does not tell which one was close.
    fits = [hmac.compare_digest(given.encode(errors="replace"), expected) for given in signatures[:SIGNATURES_MAX]]
    if not any(fits):
        raise Unauthorized(
            "No signature fits; sign the raw bytes of 'id.timestamp.body' with the secret of this account.",
            header=SIGNATURE_HEADER,
        )
    return delivery_id


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("The webhook secret is not 'whsec_' followed by base64; set it anew.") from error
    if len(key) < KEY_MIN_BYTES:
        raise Invalid(f"The webhook secret has {len(key)} bytes; take at least {KEY_MIN_BYTES} random ones.")
    return key


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise Unauthorized(f"The header {name} is missing; deliveries are signed as Standard Webhooks.", header=name)
    return value


def _check_time(timestamp: str, now: datetime) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthorized(f"The header {TIMESTAMP_HEADER} is not seconds since 1970.", header=TIMESTAMP_HEADER)
    sent_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(timestamp))
    if abs(now - sent_at) > TOLERANCE:
        raise Unauthorized(
            f"The delivery says it was sent at {sent_at.isoformat()}, more than 5 minutes off; set the sender's clock.",
            header=TIMESTAMP_HEADER,
        )


def _signature(key: bytes, delivery_id: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(key, b".".join((delivery_id.encode(), timestamp.encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
