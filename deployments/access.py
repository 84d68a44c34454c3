"""Who may come in to a one-machine platform: tokens.json, which only the owner of its folder can read."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from fleet.errors import Invalid, NotFound

TOKENS = "tokens.json"


class Access(BaseModel):
    """The bearer tokens of the seeded principals, and the secrets shared with the simulated site."""

    organisation: str
    organisation_id: UUID
    site: str
    account_id: UUID
    operator_token: str = Field("", repr=False)
    device_token: str = Field("", repr=False)
    customer_token: str = Field("", repr=False)
    other_customer_token: str = Field("", repr=False, description="Of another organisation, which must see nothing.")
    gateway_token: str = Field("", repr=False, description="With which the gateway near the robots dials in.")
    credential: str = Field("", repr=False, description="With which our adapter calls the site's cloud.")
    webhook_secret: str = Field("", repr=False, description="With which the site's cloud signs what it posts.")


def read_access(folder: Path) -> Access | None:
    """What an earlier seed wrote in `folder`, or None.

    Raises:
        Invalid: the file is damaged.
    """
    path = folder / TOKENS
    try:
        return Access.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError:
        message = f"{path} is damaged. Delete it; `yardmaster up` or `yardmaster db seed` then issues new tokens."
        raise Invalid(message) from None


def access_of(folder: Path) -> Access:
    """The tokens of the platform in `folder`.

    Raises:
        NotFound: nothing was seeded there.
    """
    found = read_access(folder)
    if found is None:
        raise NotFound(f"There is no {TOKENS} in {folder}; `yardmaster up` or `yardmaster db seed` writes it.")
    return found


def write_access(folder: Path, access: Access) -> Path:
    """Keep `access` for the next start; gives where."""
    write_private(folder / TOKENS, access.model_dump(mode="json"))
    return folder / TOKENS


def write_private(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON that only its owner can read (mode 600 from its first byte); an older file is replaced whole."""
    write_secret(path, json.dumps(content, indent=1))


def write_secret(path: Path, text: str) -> None:
    """Write a text that only its owner can read, likewise."""
    mine = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
    mine.replace(path)
