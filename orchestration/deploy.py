"""Make Prefect know our pool and deployments. `python -m orchestration.deploy`, as often as you like."""

import asyncio
import sys
from importlib import import_module

import structlog

from fleet.errors import YardmasterError
from fleet.runtime import open_runtime
from orchestration.pool_settings import point_prefect_here

log = structlog.get_logger(__name__)


def main() -> None:
    """Apply prefect.yaml; exits 2 with one sentence when the server is away or the file is wrong."""
    point_prefect_here(open_runtime())
    try:
        # Imported here and not above: Prefect reads its settings from the environment while it is imported.
        changed = asyncio.run(import_module("orchestration.pool_deployments").apply())
    except YardmasterError as error:
        log.error("not deployed", error=error.message)
        sys.exit(2)
    log.info("deployed", changed=", ".join(changed) or "nothing: all is as prefect.yaml has it")


if __name__ == "__main__":
    main()
