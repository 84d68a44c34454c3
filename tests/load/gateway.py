"""What a gateway costs and how fast it is: memory with 50 robots, a question through it and back, a mission to its robot.

`python tests/load/gateway.py [--robots 50]` prints the figures.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterator

import kills
import psutil
import wire_kills
from sqlmodel import col, select

from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderReport
from fleet.robots import Robot
from missions.models import Attempt, OutboxMessage
from orchestration.gateway_link import GatewayLink, Switchboard

QUESTIONS = 200
MISSIONS = 40


def figures(robots: int = 50) -> Iterator[tuple[str, str, str]]:
    """With so many robots, the last of them over VDA 5050 where a broker is installed."""
    with kills.settings_on("SQLite") as settings, wire_kills.platform(settings, robots=robots) as storm:
        time.sleep(5.0)
        process = psutil.Process(storm.processes["gateway1"].pid)
        began, before = time.monotonic(), sum(process.cpu_times()[:2])
        time.sleep(10.0)
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        yield f"gateway with {robots} robots", f"{process.memory_info().rss / 1e6:.0f} MB RSS", "< 150 MB"
        yield "  its share of a core while they stand", f"{share:.0%}", ""
        took = sorted(asyncio.run(_ask(storm)))
        p95 = took[int(0.95 * len(took))]
        yield "question through the gateway and back", f"p50 {statistics.median(took):.0f} ms, p95 {p95:.0f} ms", ""
        yield from _missions(storm)
        yield "  gateway after these missions", f"{process.memory_info().rss / 1e6:.0f} MB RSS", "< 150 MB"


async def _ask(storm: wire_kills.Storm) -> list[float]:
    with storm.runtime.reading() as session:
        robot = session.exec(select(Robot).order_by(Robot.name)).first()
        account = session.get_one(ManufacturerAccount, robot.commanded_over)
    switchboard = Switchboard(storm.runtime)
    link = GatewayLink(account, switchboard)
    took = []
    for number in range(QUESTIONS):
        began = time.monotonic()
        said = await link.query(robot.address, f"nobody/{number}")
        took.append((time.monotonic() - began) * 1000)
        if not isinstance(said, OrderReport):
            raise ValueError(said)
    await switchboard.close()
    return took


def _missions(storm: wire_kills.Storm) -> Iterator[tuple[str, str, str]]:
    for _ in range(MISSIONS):
        storm.result.missions += 1
        storm.request(storm.result.missions)
        time.sleep(0.25)
    kills._until(lambda: storm.live() == 0)
    with storm.runtime.reading() as session:
        query = select(OutboxMessage.created_at, Attempt.started_at).join(
            Attempt, col(Attempt.id) == col(OutboxMessage.attempt_id)
        )
        rows = session.exec(query.where(OutboxMessage.command == "submit")).all()
    took = sorted((began - given).total_seconds() * 1000 for given, began in rows if began is not None)
    p95 = took[int(0.95 * len(took))]
    yield (
        f"mission given to robot has begun ({len(took)})",
        f"p50 {statistics.median(took):.0f} ms, p95 {p95:.0f} ms",
        "",
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--robots", type=int, default=50)
    for figure in figures(parser.parse_args().robots):
        sys.stdout.write(" | ".join(figure) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
