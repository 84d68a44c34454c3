"""Recordings converted by a Dask cluster: one task and one bounded child for each, ended with whoever asked for it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from distributed import Client
from prefect_dask.task_runners import PrefectDaskFuture

from fleet.database import new_id
from orchestration.fanning import collected
from orchestration.work.bags import NOT_CONVERTED

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(300)]
RUN = """
import asyncio, json, sys
from orchestration.flows.bags import process_bag
print(json.dumps(asyncio.run(process_bag(bag_ids=sys.argv[1:]))))
"""


@dataclass
class Flows:
    """Starts the flow in a process of its own, as a process pool does."""

    environment: dict[str, str]

    def start(self, *bag_ids: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RUN, *bag_ids]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def result(self, *bag_ids: str) -> Any:
        run = self.start(*bag_ids)
        told, errors = run.communicate(timeout=200)
        assert run.returncode == 0, errors
        return json.loads(told.splitlines()[-1])


@pytest.fixture
def flows(installation, demo_site) -> Callable[..., Flows]:
    """The flow with the runner `dask` and these settings."""
    return lambda **more: Flows({**installation.environment, "YARDMASTER_BAGS_RUNNER": "dask", **more})


@pytest.fixture
def cluster(installation, tmp_path, eventually) -> Iterator[tuple[str, list[psutil.Popen]]]:
    """A scheduler and two workers in processes of their own; gives the scheduler's address and the workers."""
    started, file = [], tmp_path / "scheduler.json"

    def start(*words: str) -> psutil.Popen:
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:], "--scheduler-file", str(file)]
        with (tmp_path / f"dask-{len(started)}.log").open("wb") as log:
            started.append(psutil.Popen(command, env=installation.environment, stdout=log, stderr=log, cwd=tmp_path))
        return started[-1]

    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    address = eventually(lambda: json.loads(file.read_text())["address"] if file.exists() else "", bool)
    workers = [start("dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard") for _ in range(2)]
    yield address, workers
    for process in reversed(started):
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def nobody_can_write(installation) -> Iterator[None]:
    """Our database is held, so that children that have begun wait."""
    file = installation.runtime.engine.url.database
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def _children(workers: list[psutil.Popen]) -> list[psutil.Process]:
    return [child for worker in workers if worker.is_running() for child in worker.children()]


def test_each_bag_is_a_task_and_one_that_is_none_costs_only_itself(flows, installation, stored, recording):
    good, bad = stored(recording, "dask.mcap"), stored(b"none at all", "dask.txt")
    before = _tasks(installation)
    assert flows().result(good, bad) == {"bags": 2, "messages": 60, "problems": 1}
    assert _tasks(installation) == before + 2


def _tasks(installation) -> int:
    asked = {"task_runs": {"name": {"like_": "convert-bag"}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    return int(installation.post("/task_runs/count", asked))


def test_a_worker_that_is_killed_costs_nothing(flows, cluster, installation, stored, recording, eventually):
    address, workers = cluster
    bag = stored(recording + b"\0", "killed.mcap")
    with nobody_can_write(installation):
        run = flows(YARDMASTER_DASK_SCHEDULER=address).start(bag)
        eventually(lambda: _children(workers), bool, within_s=60)
        (busy,) = [worker for worker in workers if worker.children()]
        busy.kill()
        busy.wait()
    told, errors = run.communicate(timeout=120)
    assert json.loads(told.splitlines()[-1]) == {"bags": 1, "messages": 60, "problems": 0}, errors


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_child_ends_with_the_run_that_asked_for_it(flows, cluster, installation, stored, recording, eventually, sent):
    address, workers = cluster
    bag = stored(recording + bytes(2 + sent), "ended.mcap")
    with nobody_can_write(installation):
        run = flows(YARDMASTER_DASK_SCHEDULER=address).start(bag)
        eventually(lambda: _children(workers), bool, within_s=60)
        os.kill(run.pid, sent)
        eventually(lambda: _children(workers), lambda children: not children, within_s=15)
        run.communicate(timeout=60)
    assert flows(YARDMASTER_DASK_SCHEDULER=address).result(bag)["messages"] == 60


def test_a_scheduler_that_is_away_is_told_with_its_address(flows, stored, recording):
    bag = stored(recording + bytes(9), "away.mcap")
    environment = {"YARDMASTER_DASK_SCHEDULER": "tcp://127.0.0.1:9", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    run = flows(**environment).start(bag)
    _, errors = run.communicate(timeout=100)
    assert run.returncode != 0
    assert "The Dask scheduler tcp://127.0.0.1:9 does not answer" in errors


def test_what_a_killed_scheduler_had_is_worth_another_try(tmp_path, eventually):
    file, bag_id = tmp_path / "scheduler.json", new_id()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(file)], stderr=subprocess.DEVNULL)
    try:
        address = eventually(lambda: json.loads(file.read_text())["address"] if file.exists() else "", bool)
        with Client(address, timeout=2) as client:
            future = PrefectDaskFuture(task_run_id=new_id(), wrapped_future=client.submit(sum, [1, 2]))
            scheduler.kill()
            (outcome,) = collected({bag_id: future}, threading.Event())
    finally:
        scheduler.kill()
        scheduler.wait()
    assert (outcome.bag_id, outcome.status, outcome.is_worth_a_try) == (str(bag_id), NOT_CONVERTED, True)
    assert "scheduler" in outcome.problem
