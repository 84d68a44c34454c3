"""`yardmaster bags …`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.converting import EXIT, Conversion, converted
from deployments.cli.parts import AsJson, send_logs_to_standard_error, show

if TYPE_CHECKING:
    from ingestion.bags.inspection import Inspection

app = typer.Typer(no_args_is_help=True)
LOSSES_SHOWN = 10
Definitions = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of .msg files, for topics recorded without theirs."),
]


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
    definitions: Definitions = None,
    as_json: AsJson = False,
) -> None:
    """Turn a recording into Parquet; exit code 0: all of it, 3: a part, 2: nothing could be read."""
    raise typer.Exit(converted(Conversion(source, out, robot, definitions, as_json)))


@app.command("verify")
def verify(
    source: Annotated[Path, typer.Argument(exists=True, readable=True, help="The recording.")],
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What `bags convert` wrote from it.")],
    definitions: Definitions = None,
) -> None:
    """Compare converted Parquet with the recording itself; exit code 1 when anything differs."""
    from ingestion.bags.verification import verify as compare

    send_logs_to_standard_error()
    differences = compare(source, folder, definitions=definitions)
    for line in differences:
        typer.echo(line)
    typer.echo(f"{len(differences)} differences" if differences else "no difference")
    raise typer.Exit(1 if differences else 0)


@app.command("inspect")
def inspect(
    source: Annotated[Path, typer.Argument(exists=True, readable=True, help="A recording as for `bags convert`.")],
    within_s: Annotated[float, typer.Option("--within", min=0.0, help="Seconds after which it looks no further.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Tell what is in a recording and what is damaged, without converting it; exit codes as of `bags convert`."""
    from ingestion.bags.inspection import inspect as look

    send_logs_to_standard_error()
    found = look(source, within_s=within_s)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        for line in _told(found):
            typer.echo(line)
        rows = [
            (topic.name, topic.type, topic.messages, rounded(topic.rate_hz), topic.definition, topic.reason)
            for topic in found.topics
        ]
        show(f"{len(rows)} topics", ("topic", "type", "messages", "per second", "definition", "not decodable"), rows)
    raise typer.Exit(EXIT[str(found.status)])


def rounded(value: float | None) -> str:
    """A measure for people."""
    return "" if value is None else f"{value:.4g}"


def _told(found: "Inspection") -> Iterator[str]:
    """What a person is told of a recording above its topics."""
    from ingestion.lake import instant

    yield f"{found.filename}: {found.format or 'no format'}, {found.size} bytes, {found.messages} messages: {found.status}"
    if found.first_ns is not None and found.duration_s is not None:
        yield f"from {instant(found.first_ns).isoformat()}, {found.duration_s:.3f} s"
    if not found.is_whole:
        yield "looked at in part only: give it more time with --within"
    yield from [found.reason] if found.reason else []
    yield from (f"repaired: {told}" for told in found.repairs)
    yield from (f"lost: {lost.bytes} bytes at {lost.offset}: {lost.reason}" for lost in found.lost[:LOSSES_SHOWN])
    if len(found.lost) > LOSSES_SHOWN:
        yield f"lost: {len(found.lost) - LOSSES_SHOWN} places more; --json tells all"
