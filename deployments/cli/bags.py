"""`yardmaster bags …`."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.parts import AsJson, Organisation, opened, send_logs_to_standard_error, show, show_json

app = typer.Typer(no_args_is_help=True)
EXIT = {"complete": 0, "repaired": 0, "partial": 3, "refused": 2}


@app.command("convert")
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True, readable=True, help="A .bag, .db3 or .mcap file, a rosbag2 folder, or a zip of it."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the Parquet files and the manifest.")],
    robot: Annotated[str | None, typer.Option(help="Name of the robot that recorded it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a recording into Parquet; exit code 0: all of it, 3: a part, 2: nothing could be read."""
    from ingestion.bags import convert as turn

    send_logs_to_standard_error()
    manifest = turn(source, out, robot=robot)
    status = str(manifest.status)
    if as_json:
        typer.echo(manifest.model_dump_json(indent=1))
    else:
        rows = [(topic.name, topic.type, topic.rows, topic.rejected) for topic in manifest.topics]
        show(f"{source.name}: {status}, {manifest.messages} messages", ("topic", "type", "rows", "rejected"), rows)
    raise typer.Exit(EXIT[status])


@app.command("verify")
def verify(
    source: Annotated[Path, typer.Argument(exists=True, readable=True, help="The recording.")],
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What `bags convert` wrote from it.")],
) -> None:
    """Compare converted Parquet with the recording itself; exit code 1 when anything differs."""
    from ingestion.bags.verification import verify as compare

    send_logs_to_standard_error()
    differences = compare(source, folder)
    for line in differences:
        typer.echo(line)
    typer.echo(f"{len(differences)} differences" if differences else "no difference")
    raise typer.Exit(1 if differences else 0)


@app.command("list")
def list_bags(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The recordings of an organisation and how far each is on its way to Parquet."""
    from fleet.organisations import organisation_named
    from ingestion.catalogue import bags_of

    with opened().reading() as session:
        found = list(bags_of(session, organisation_named(session, organisation).id))
    if as_json:
        show_json([bag.model_dump(mode="json") for bag in found])
        return
    rows = [(bag.filename, bag.robot_name, bag.status.value, bag.messages, bag.size, bag.error) for bag in found]
    show("Bags", ("file", "robot", "status", "messages", "bytes", "error"), rows)
