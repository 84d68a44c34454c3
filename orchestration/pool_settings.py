"""What Prefect is told through the environment, which it reads once when it is imported (so this never imports it)."""

from fleet.runtime import Runtime, set_environment


def point_prefect_here(runtime: Runtime) -> None:
    """Point Prefect in this process at our server, with its telemetry off; call it before Prefect is imported."""
    set_environment(
        {
            "PREFECT_API_URL": runtime.settings.prefect_api_url,
            "PREFECT_HOME": str(runtime.settings.var_dir.resolve() / "prefect"),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_REQUEST_TIMEOUT": "20",  # then the call is made again, up to five times
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",  # what a flow says is shown on its page
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        }
    )
