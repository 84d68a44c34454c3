"""The worker process: our Prefect worker and the desk, in one event loop. `python -m orchestration.worker`."""

import os
import signal
import threading
from importlib import import_module
from types import FrameType

import structlog

from fleet.runtime import open_runtime
from orchestration.pool_settings import point_prefect_here

log = structlog.get_logger(__name__)
STOP_S = 4.5


def main() -> None:
    """Serve until SIGTERM or SIGINT; then runs in flight are handed back and the process ends with 0 within 5 s.

    It ends with 1 when the loop itself broke down.
    """
    runtime = open_runtime()
    point_prefect_here(runtime)
    stopping, asked = threading.Event(), threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # Imported here and not above: Prefect reads its settings from the environment while it is imported.
    crew = import_module("orchestration.pool_loop").Crew(runtime)
    # Not in the main thread: there Prefect's engine would put its own SIGTERM handler in the place of ours.
    thread = threading.Thread(target=crew.serve, args=(stopping,), name="loop", daemon=True)
    thread.start()
    stopping.wait()
    thread.join(STOP_S)
    if thread.is_alive():
        log.warning("the worker did not come to rest in time and leaves its runs to the next one", waited_s=STOP_S)
    os._exit(0 if asked.is_set() else 1)  # threads that still wait for a database or a server are not waited for


if __name__ == "__main__":
    main()
