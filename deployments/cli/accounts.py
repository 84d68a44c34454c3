"""`yardmaster accounts …`."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.parts import AsJson, Organisation, opened, show, show_json

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="What people call the account.")]
CredentialFile = Annotated[Path | None, typer.Option(exists=True, help="File with the credential of the other side.")]
OptionsFile = Annotated[
    Path | None, typer.Option("--options", exists=True, help="JSON file with the adapter's own options, see its page.")
]


@app.command("add")
def add(
    name: Name,
    manufacturer: Annotated[str, typer.Option(help="The adapter: ros2, vda5050, simulated …")],
    url: Annotated[str, typer.Option(help="Where its robots are, such as dds://?domain=42 or mqtts://broker:8883.")],
    credential_file: CredentialFile = None,
    options: OptionsFile = None,
    organisation: Organisation = "demo",
) -> None:
    """A new account: robots of one manufacturer, or on one link."""
    import base64
    import secrets

    from fleet.accounts import ManufacturerAccount, account_names
    from fleet.adapters import ADAPTERS, push_manufacturers
    from fleet.errors import Conflict, Invalid
    from fleet.organisations import organisation_named

    if manufacturer not in push_manufacturers() | set(ADAPTERS):
        known = ", ".join(sorted(push_manufacturers() | set(ADAPTERS)))
        raise Invalid(f"There is no adapter {manufacturer!r}; known: {known}.", manufacturer=manufacturer)
    runtime = opened()
    with runtime.transaction() as session:
        owner = organisation_named(session, organisation)
        if name in account_names(session, owner.id):
            raise Conflict(f"There is an account {name!r} already; `yardmaster accounts set` changes it.", account=name)
        session.add(
            ManufacturerAccount(
                organisation_id=owner.id,
                name=name,
                manufacturer=manufacturer,
                base_url=url,
                credential=_secret(credential_file),
                webhook_secret=f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
                options=_options(options),
                created_at=runtime.clock.now(),
            )
        )
    typer.echo(f"{name} is there")


@app.command("set")
def change(
    name: Name,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    credential_file: CredentialFile = None,
    options: OptionsFile = None,
    organisation: Organisation = "demo",
) -> None:
    """Change an account; gateways that serve it open its link anew within seconds."""
    from fleet.accounts import account_named
    from fleet.organisations import organisation_named

    with opened().transaction() as session:
        row = account_named(session, organisation_named(session, organisation).id, name)
        row.base_url = url or row.base_url
        row.credential = _secret(credential_file) or row.credential
        row.options = _options(options) if options is not None else row.options
        session.add(row)
    typer.echo(f"{name} is changed")


@app.command("list")
def list_accounts(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The accounts of an organisation, without their secrets."""
    from sqlmodel import select

    from fleet.accounts import ManufacturerAccount
    from fleet.organisations import organisation_named

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        mine = select(ManufacturerAccount).where(ManufacturerAccount.organisation_id == owner.id)
        rows = session.exec(mine.order_by(ManufacturerAccount.name)).all()
    if as_json:
        shown = {"id", "name", "manufacturer", "base_url", "options", "polled_at", "created_at"}
        show_json([row.model_dump(mode="json", include=shown) for row in rows])
        return
    show("Accounts", ("name", "adapter", "url"), [(row.name, row.manufacturer, row.base_url) for row in rows])


def _secret(path: Path | None) -> str:
    return path.read_text().strip() if path is not None else ""


def _options(path: Path | None) -> dict[str, object]:
    import json

    from fleet.errors import Invalid

    if path is None:
        return {}
    try:
        read = json.loads(path.read_bytes())
    except ValueError as error:
        raise Invalid(f"{path} holds no JSON: {error}.") from None
    if not isinstance(read, dict):
        raise Invalid(f"{path} holds no JSON object; the adapter's page shows how options look.")
    return read
