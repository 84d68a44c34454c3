"""The commands that become one process of the platform, or open a tool's own pages."""

import signal
import sys
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer

HOST = "127.0.0.1"

Port = Annotated[int, typer.Option(min=1, max=65_535, help="Loopback port.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (dispatcher, api, worker, mlflow, dagster):
        app.command()(command)


def dispatcher() -> None:
    """The dispatcher alone: plans, dispatches and follows missions."""
    become("orchestration.dispatcher")


def api(port: Port = 8000) -> None:
    """The API alone."""
    become("api.serve", "--host", HOST, "--port", str(port))


def worker() -> None:
    """The Prefect worker and the desk alone."""
    become("orchestration.worker")


def mlflow(port: Port = 5000) -> None:
    """MLflow's pages on loopback: runs, models, aliases."""
    from fleet.runtime import artifacts_dir, tracking_uri
    from fleet.settings import read_settings

    settings = read_settings()
    store = tracking_uri(settings)
    artifacts = artifacts_dir(settings)
    typer.echo(f"MLflow at http://{HOST}:{port} (Ctrl-C ends it)")
    place = ("--host", HOST, "--port", str(port), "--workers", "1")
    become("mlflow", "server", "--backend-store-uri", store, "--default-artifact-root", artifacts.as_uri(), *place)


def dagster(port: Port = 3000) -> None:
    """Dagster's pages on loopback: lineage, checks."""
    from pathlib import Path

    from fleet.settings import read_settings
    from orchestration.assets.home import prepare

    settings = read_settings()
    home = Path(settings.dagster_home or settings.var_dir / "dagster").resolve()
    prepare(home)
    typer.echo(f"Dagster at http://{HOST}:{port} (Ctrl-C ends it)")
    # It does at SIGTERM what it finds for SIGINT: nothing at all in the background of a script, where that is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = ("dev", "--module-name", "orchestration.definitions", "--host", HOST, "--port", str(port))
    become("dagster", *arguments, extra={"DAGSTER_HOME": str(home)})


def become(module: str, *arguments: str, extra: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process, so that signals and the exit code are the other's own."""
    import os

    from deployments.surroundings import QUIET
    from fleet.settings import child_environment

    sys.stdout.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, child_environment({**QUIET, **(extra or {})}))  # noqa: S606  our own command
