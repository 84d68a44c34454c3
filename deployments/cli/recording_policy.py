"""`yardmaster recording-policy …`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.parts import AsJson, Organisation, opened, show, show_json, who

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingestion.recording_policies import PolicyVersion

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the policy.")]
Why = Annotated[str, typer.Option(help="Why, for those who look at it later.")]


@app.command("show")
def show_policies(
    name: Annotated[str | None, typer.Argument(help="Name of a policy; without one, all are listed.")] = None,
    robot: Annotated[str | None, typer.Option("--robot", "-r", help="The policy that counts for this robot.")] = None,
    organisation: Organisation = "demo",
    as_json: AsJson = False,
) -> None:
    """The policies and for whom they are, or the document of one; what counts for a robot."""
    from fleet.errors import NotFound
    from fleet.organisations import organisation_named
    from fleet.robots import robot_named
    from ingestion import recording_policies

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        if robot is not None:
            found = recording_policies.policy_of(session, robot_named(session, owner.id, robot))
            if found is None:
                raise NotFound(
                    f"No recording policy counts for {robot}; it records what is asked for only.", robot=robot
                )
            show_json(_told(found))
        elif name is not None:
            show_json(_told(recording_policies.versions(session, owner.id, name)[0]))
        else:
            _list(recording_policies.newest(session, owner.id), as_json=as_json)


def _list(rows: "Sequence[PolicyVersion]", *, as_json: bool) -> None:
    if as_json:
        show_json([_told(row) for row in rows])
        return
    cells = [
        (
            row.name,
            row.version,
            _whom(row),
            ", ".join(trigger.on.value for trigger in row.policy.triggers),
            ", ".join(topics.pattern for topics in row.policy.continuous),
            row.written_by,
        )
        for row in rows
    ]
    show("Recording policies", ("name", "version", "for", "records on", "all the time", "written by"), cells)


def _whom(row: "PolicyVersion") -> str:
    applies = row.policy.applies_to
    named = [*(f"robot {robot}" for robot in applies.robots), *(f"site {site}" for site in applies.sites)]
    return ", ".join([*named, *(["everywhere"] if applies.everywhere else [])]) or "nobody"


def _told(row: "PolicyVersion") -> dict[str, object]:
    return row.model_dump(mode="json", include={"name", "version", "why", "written_by", "written_at"}) | {
        "policy": row.policy.model_dump(mode="json")
    }


@app.command("set")
def set_policy(
    name: Name,
    document: Annotated[Path, typer.Argument(help="JSON file with the policy; - reads standard input.")],
    why: Why,
    organisation: Organisation = "demo",
) -> None:
    """Write a new version of a policy; what the newest one says already makes no other one."""
    from fleet.errors import Invalid
    from fleet.organisations import organisation_named
    from ingestion.recording_policies import put
    from ingestion.recording_policy import parsed

    try:
        text = sys.stdin.buffer.read() if str(document) == "-" else document.read_bytes()
    except OSError as error:
        raise Invalid(f"{document} cannot be read: {error.strerror}.", document=str(document)) from error
    policy = parsed(text)
    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = put(session, organisation_id=owner.id, name=name, policy=policy, why=why, who=who())
        typer.echo(f"{row.name} is at version {row.version}, for {_whom(row)}")


@app.command("history")
def history(name: Name, organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """Every version of a policy, newest first: who wrote it, when and why."""
    from fleet.organisations import organisation_named
    from ingestion.recording_policies import versions

    with opened().reading() as session:
        rows = versions(session, organisation_named(session, organisation).id, name)
    if as_json:
        show_json([_told(row) for row in rows])
        return
    cells = [(row.version, row.written_at.isoformat(timespec="seconds"), row.written_by, row.why) for row in rows]
    show(f"Versions of {name}", ("version", "written at", "by", "why"), cells)


@app.command("request")
def request(  # noqa: PLR0913  each one is an option of the command line
    robot: Annotated[str, typer.Argument(help="Name of the robot.")],
    why: Why,
    before: Annotated[float | None, typer.Option(help="Seconds from before now; without it, as in its policy.")] = None,
    after: Annotated[float | None, typer.Option(help="Seconds from now on; without it, as in its policy.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="A topic, or many by *; repeat it for more.")] = None,
    key: Annotated[str | None, typer.Option(help="Asking twice with one key makes one recording.")] = None,
    organisation: Organisation = "demo",
) -> None:
    """Ask a robot for a recording of what it shows now; it begins within seconds and comes as a bag."""
    from uuid import uuid4

    from pydantic import ValidationError

    from fleet.errors import Invalid, complaints
    from fleet.organisations import organisation_named
    from fleet.robots import robot_named
    from ingestion.recordings import RecordingWanted, ask, views

    said = {"key": key or str(uuid4()), "why": why, "before_s": before, "after_s": after}
    try:
        wanted = RecordingWanted.model_validate(
            said | {"topics": [{"pattern": one} for one in topic] if topic else None}
        )
    except ValidationError as error:
        raise Invalid(f"No such recording can be asked for: {'; '.join(complaints(error))}.") from error
    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = ask(session, robot_named(session, owner.id, robot), wanted, who=who())
        typer.echo(f"{row.trigger_id} is {views(session, [row])[0].status}")
