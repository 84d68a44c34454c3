"""What commands share: the runtime of the chosen folder, who acts, and how answers are shown."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.tables import show, show_json

if TYPE_CHECKING:
    from fleet.runtime import Runtime

__all__ = ["AsJson", "Organisation", "Site", "opened", "send_logs_to_standard_error", "show", "show_json", "who"]

Organisation = Annotated[str, typer.Option("--organisation", "-o", help="Name of the organisation.")]
Site = Annotated[str, typer.Option("--site", "-s", help="Name of the site.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def opened() -> "Runtime":
    """The parts of the installation in the chosen folder.

    Raises:
        Unavailable: its database is not there or not up to date.
    """
    from deployments.schema import check, require
    from fleet.runtime import database_url, open_runtime
    from fleet.settings import read_settings

    settings = read_settings()
    require(database_url(settings))
    runtime = open_runtime(settings)
    check(runtime.engine)
    return runtime


def send_logs_to_standard_error() -> None:
    """For commands that open no installation: what is logged stays out of their output."""
    from fleet.logs import configure_logs
    from fleet.settings import read_settings

    settings = read_settings()
    configure_logs(level=settings.log_level, form=settings.log_format)


def who() -> str:
    """Who acts, for the row that every change leaves."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return "user:unknown"  # a bare container has ids without names
