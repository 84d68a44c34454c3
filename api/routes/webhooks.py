"""Webhooks of manufacturers: verified, stored raw, committed, and only then answered."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from api.group_commit import Deliveries
from api.memory import Remembered
from api.problems import described
from fleet.accounts import ManufacturerAccount
from fleet.errors import NotFound
from fleet.runtime import Runtime
from ingestion import signatures
from ingestion.inbox import arriving

router = APIRouter(tags=["webhooks"])

ACCOUNT_SECONDS = 5.0
KEPT_HEADERS = (
    signatures.ID_HEADER,
    signatures.TIMESTAMP_HEADER,
    signatures.SIGNATURE_HEADER,
    "content-type",
    "user-agent",
)
HEADER_MAX_CHARACTERS = 1000


class Letterbox:
    """Finds the account that a webhook is for, and stores what is posted to it."""

    def __init__(self, runtime: Runtime, writer: Deliveries) -> None:
        """`writer` commits what is stored."""
        self._runtime = runtime
        self._writer = writer
        self._accounts: Remembered[UUID, ManufacturerAccount] = Remembered(runtime.clock, seconds=ACCOUNT_SECONDS)

    async def account(self, account_id: UUID) -> ManufacturerAccount:
        """The account of this id, at most ACCOUNT_SECONDS old.

        Raises:
            NotFound: there is none.
        """
        found = await self._accounts.fetch(account_id, lambda: self._look_up(account_id))
        if found is None:
            raise NotFound(f"There is no account {account_id}; check the address of the webhook.")
        return found

    def _look_up(self, account_id: UUID) -> ManufacturerAccount | None:
        with self._runtime.reading() as session:
            return session.get(ManufacturerAccount, account_id)

    async def take(self, account: ManufacturerAccount, headers: Mapping[str, str], body: bytes) -> None:
        """Returns once the delivery is committed; idempotent by (account, key). `headers` have lower-case names.

        Raises:
            Unauthorized: it is not signed with the account's secret, or not now.
            Unavailable: it cannot be stored now.
        """
        now = self._runtime.clock.now()
        key = signatures.verify(account.webhook_secret, headers, body, now=now)
        kept = {name: value[:HEADER_MAX_CHARACTERS] for name in KEPT_HEADERS if (value := headers.get(name))}
        delivery = arriving(account, key=key, source="webhook", headers=kept, body=body, received_at=now)
        await self._writer.write(delivery)


def _letterbox(request: Request) -> Letterbox:
    letterbox = request.app.state.letterbox
    assert isinstance(letterbox, Letterbox)
    return letterbox


@router.post("/v1/webhooks/{account_id}", status_code=202, responses=described(401, 404, 413, 503))
async def receive(account_id: UUID, request: Request, letterbox: Annotated[Letterbox, Depends(_letterbox)]) -> Response:
    """Post one delivery, signed as Standard Webhooks with the secret of the account.

    202 means that it is stored and will not be lost. Anything else means that it is not: send it again with the same
    `webhook-id`. A delivery that came before is answered with 202 and changes nothing.
    """
    account = await letterbox.account(account_id)
    await letterbox.take(account, request.headers, await request.body())
    return Response(status_code=202)
