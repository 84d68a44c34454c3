"""The stages of the night in their order, and the table and file that tell what each came to."""

import json
import platform as machine
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.demo import bags, calendar, intake, learning, missions, wire
from deployments.demo.night import Night, Outcome
from fleet.errors import YardmasterError

Stage = tuple[str, Callable[[Night], Awaitable[Outcome]]]
RESULT = "result.json"


@dataclass(frozen=True)
class Done:
    """A stage that is over."""

    what: str
    how_many: str
    seconds: float
    where: str
    problems: tuple[str, ...] = ()


def stages_of(recordings: Sequence[Path]) -> list[Stage]:
    """What is done in which order; with `recordings`, they are taken in first."""
    brought: list[Stage] = [("Recordings brought along", lambda night: bags.bring(night, recordings))]
    return [
        *(brought if recordings else []),
        ("Polling", intake.poll),
        ("Missions", missions.fly_round),
        ("Schedule", calendar.keep_time),
        ("Robots' links", wire.compare),
        ("Webhooks", intake.receive),
        ("Bags to Parquet", bags.collect),
        ("Catalogue", bags.catalogue),
        ("Learning", learning.train),
        ("Report", learning.publish),
    ]


async def carry_out(stage: Stage, night: Night) -> Done:
    """One stage; an error of ours is its problem, so that the table shows it and the others still run."""
    what, work = stage
    began = time.monotonic()
    try:
        outcome = await work(night)
    except YardmasterError as error:
        outcome = Outcome("", "", (error.message,))
    return Done(what, outcome.how_many, time.monotonic() - began, outcome.where, outcome.problems)


def show(console: Console, done: Sequence[Done], *, seconds: float) -> None:
    """The table of every stage, and below it what did not hold."""
    table = Table(title=f"The night took {seconds:.0f} s", title_justify="left", header_style="bold", show_lines=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("how many", overflow="fold")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("where to look", overflow="fold")
    table.add_column("check", no_wrap=True)
    for stage in done:
        verdict = "[red]FAILED[/]" if stage.problems else "[green]OK[/]"
        table.add_row(stage.what, escape(stage.how_many), f"{stage.seconds:.1f} s", escape(stage.where), verdict)
    console.print(table)
    for stage in done:
        for problem in stage.problems:
            console.print(f"[red]FAILED[/] {escape(stage.what)}: {escape(problem)}", soft_wrap=True)


def keep(folder: Path, done: Sequence[Done], *, seconds: float, at: datetime) -> Path:
    """Write the same for machines; gives where."""
    content = {
        "at": at.isoformat(timespec="seconds"),
        "machine": f"{machine.system()} {machine.machine()}",
        "seconds": round(seconds, 1),
        "is_ok": all(not stage.problems for stage in done),
        "stages": [asdict(stage) for stage in done],
    }
    path = folder / RESULT
    path.write_text(json.dumps(content, indent=1))
    return path
