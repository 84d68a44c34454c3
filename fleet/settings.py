"""Every setting, read from the environment (prefix YARDMASTER_); nothing else reads the environment."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fleet.errors import Invalid, Unavailable, complaints

PREFIX = "YARDMASTER_"


class Settings(BaseSettings):
    """What an installation may choose; the defaults are the embedded platform on one machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    environment: Literal["development", "production"] = Field(
        "development", description="In production every secret must be set; in development one is made under var/."
    )
    var_dir: Path = Field(Path("var"), description="Folder for everything this installation writes.")
    database_url: str = Field("", description="SQLAlchemy URL of our own database; empty: SQLite in var_dir.")
    objects_url: str = Field(
        "", description="Root of the object store: file://… or s3://bucket/prefix; empty: var_dir."
    )
    objects_endpoint_url: str = Field("", description="Endpoint of an S3-compatible store; empty: the cloud's own.")
    objects_access_key: str = Field("", description="Access key of the S3 store.")
    objects_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of the S3 store.")
    signing_key: SecretStr = Field(
        SecretStr(""), description="Key that signs download addresses; required in production."
    )
    prefect_api_url: str = Field("http://127.0.0.1:4200/api", description="Where the Prefect server listens.")
    api_url: str = Field("http://127.0.0.1:8000", description="Where our own API listens, as others reach it.")
    mlflow_tracking_uri: str = Field("", description="MLflow's store; empty: SQLite in var_dir.")
    dagster_home: str = Field("", description="Dagster's folder; empty: var_dir/dagster.")
    worker_name: str = Field("yardmaster", description="Name under which the Prefect worker is shown.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="How a log line is written.")
    webhook_body_max_bytes: int = Field(1_000_000, gt=0, description="A larger webhook is refused with 413.")
    upload_max_bytes: int = Field(8_000_000_000, gt=0, description="A larger recording is refused with 413.")
    stored_max_bytes: int = Field(
        1_000_000_000_000, gt=0, description="Raw recordings of one organisation, in bytes; more is refused with 507."
    )
    uploads_open_max: int = Field(
        200, gt=0, description="Uploads that one organisation may have open; more are refused with 429."
    )
    upload_keep_days: int = Field(
        7, gt=0, le=36_500, description="An upload to which nothing was sent for so many days is removed."
    )
    heavy_memory_max_bytes: int = Field(
        4_000_000_000, gt=0, description="Address-space limit of one heavy child process."
    )
    bags_runner: Literal["child", "dask"] = Field(
        "child", description="What converts bags: children of the Prefect worker, or the workers of a Dask cluster."
    )
    dask_scheduler: str = Field(
        "", description="Address of the Dask scheduler, tcp://host:8786; empty: two workers within the Prefect worker."
    )
    keep_days: int = Field(
        90,
        gt=0,
        le=36_500,
        description="Understood deliveries, published changes and decided occurrences are removed after so many days; missions stay.",
    )
    shared_data: Path = Field(
        Path("../shared/data"), description="Real recordings for tests and benchmarks, if present."
    )


def read_settings() -> Settings:
    """The settings of this process.

    Raises:
        Invalid: an environment variable has a value that it cannot have; names it and the value.
    """
    try:
        return Settings()
    except ValidationError as error:
        named = [told.partition(":") for told in complaints(error)]
        raise Invalid("; ".join(f"{PREFIX}{name.upper()}:{rest}" for name, _, rest in named)) from None


def make_folder(folder: Path) -> Path:
    """The folder, made where it is missing; it can be written to.

    Raises:
        Unavailable: it cannot be made or written to; says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "it is not writable"
    except FileExistsError:
        reason = "it is a file, no folder"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise Unavailable(
            f"The folder {folder} cannot be used: {reason}. Choose another with --var.", folder=str(folder)
        )
    return folder


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment with `extra` on top, for a child process that we start."""
    return {**os.environ, **extra}


def set_environment(values: dict[str, str]) -> None:
    """Hand settings to libraries in this process that read only the environment (Prefect, Dagster, MLflow)."""
    os.environ.update(values)
