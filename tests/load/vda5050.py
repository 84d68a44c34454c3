"""What a gateway's VDA 5050 link carries: states a second, their lag, and how soon a mission starts at that load
(`make bench PARTS=vda5050`).

    python tests/load/vda5050.py                     100 vehicles at 4 states a second, then missions on all of them
    python tests/load/vda5050.py --hertz 12          1,200 states a second

The vehicles are another process (`fleet` below) that speaks for all of them over one connection; the broker is mosquitto.
The lag of a state runs from its own timestamp until the link has taken it in. Both processes share the machine's clock.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from fleet.adapter import Accepted, Order, OrderTask, TaskKind
from fleet.adapters.simulated import vda5050_messages as words
from fleet.adapters.simulated.broker import mosquitto, settings_of
from fleet.adapters.vda5050 import adapter as link_adapter
from fleet.adapters.vda5050 import listening
from fleet.adapters.vda5050.adapter import open_push
from fleet.journal import JournalFile
from fleet.mqtt import open_mqtt
from fleet.push import PushAccount
from fleet.timepieces import SystemClock

CLOCK = SystemClock()
HERTZ, MANY_HERTZ = 4.0, 15.0
Figure = tuple[str, str, str]


class Vehicles:
    """All vehicles over one connection: a state each time it is due and at once when an order comes."""

    def __init__(self, mqtt, count: int) -> None:
        self._mqtt = mqtt
        self._who = [words.Identity("bench", f"V{number:03d}", "2.1.0") for number in range(count)]
        self._orders = [("", [])] * count
        self._numbers = [0] * count

    def topic(self, index: int, name: str) -> str:
        return f"uagv/v2/bench/{self._who[index].serial_number}/{name}"

    def say(self, index: int) -> None:
        order_id, nodes = self._orders[index]
        shown = words.Shown(
            order_id, 0, ("start", 0), nodes, [], [], [], (1.0, 2.0, 0.0), 0.8, False, bool(nodes), False
        )
        self._numbers[index] += 1
        who = self._who[index]
        body = orjson.dumps(
            words.headed(who, self._numbers[index], CLOCK.now(), words.state(who, shown))
            | {"timestamp": CLOCK.now().isoformat()}
        )
        self._mqtt.publish(self.topic(index, "state"), body)

    async def hear(self) -> None:
        by_topic = {self.topic(index, "order"): index for index in range(len(self._who))}
        self._mqtt.subscribe(dict.fromkeys(by_topic, 0))
        while True:
            for message in (await self._mqtt.heard()).messages:
                said = orjson.loads(message.payload)
                index = by_topic[message.topic]
                nodes = [(one["nodeId"], one["sequenceId"], True) for one in said["nodes"] if one["sequenceId"]]
                self._orders[index] = (said["orderId"], nodes)
                self.say(index)

    async def speak(self, hertz: float) -> None:
        begun, said = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun) * hertz * len(self._who))
            for number in range(said, due):
                self.say(number % len(self._who))
            said = due
            await asyncio.sleep(0.005)


async def fleet(url: str, count: int, hertz: float) -> None:
    async with open_mqtt(url) as mqtt:
        await mqtt.heard()
        vehicles = Vehicles(mqtt, count)
        await asyncio.gather(vehicles.hear(), vehicles.speak(hertz))


def _measured_take(lags: list[float]):
    take = link_adapter.take

    def measured(link, message):
        found = take(link, message)
        if message.topic.endswith("/state"):
            address = "/".join(message.topic.split("/")[2:4])
            robot = link.robots.get(address)
            if robot is not None and robot.state is not None and robot.state.header.at is not None:
                lags.append((CLOCK.now() - robot.state.header.at).total_seconds())
        return found

    return measured


async def _missions(push, addresses: list[str]) -> list[float]:
    """How long each of these submits took; ten at a time."""
    took, gate = [], asyncio.Semaphore(10)

    async def one(address: str) -> None:
        task = OrderTask(position=0, kind=TaskKind.go_to, station="gate", x_m=60.0, y_m=0.0)
        order = Order(key=f"{address}/1", fence=1, serial_number=address, mission_id="m", tasks=(task,))
        async with gate:
            begun = time.monotonic()
            outcome = await push.submit(order)
            took.append(time.monotonic() - begun)
            assert isinstance(outcome, Accepted), outcome

    await asyncio.gather(*(one(address) for address in addresses))
    return took


async def gateway(url: str, count: int, seconds: float) -> dict[str, object]:
    lags: list[float] = []
    link_adapter.take = _measured_take(lags)
    addresses = [f"bench/V{number:03d}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(JournalFile(Path(folder) / "j.db")) as file:
        async with open_push(PushAccount(name="bench", url=url), file.of("bench")) as push:
            await push.hold(frozenset(addresses))

            async def read() -> None:
                async for _ in push.told():
                    pass

            reading = asyncio.create_task(read())
            await asyncio.sleep(2.0)
            lags.clear()
            cpu, begun = _cpu_s(), time.monotonic()
            await asyncio.sleep(seconds)
            passed, spent, states = time.monotonic() - begun, _cpu_s() - cpu, len(lags)
            quiet = list(lags)
            took = await _missions(push, addresses)
            lost = sum(one.newest["state"].lost for one in push._link.robots.values())
            result = {
                "vehicles": count,
                "states_per_s": round(states / passed),
                "cpu_us_per_state": round(spent / max(states, 1) * 1e6),
                "cpu_share": round(spent / passed, 2),
                "lag_ms": _spread(quiet),
                "mission_start_ms": _spread(took),
                "states_lost": lost,
                "states_given_up": push._link.mqtt.given_up,
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
            reading.cancel()
            return result


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99}
    found = {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000, 1) for name, q in at.items()}
    return found | {"max": round(ordered[-1] * 1000, 1), "mean": round(statistics.fmean(ordered) * 1000, 1)}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def figures() -> Iterator[Figure]:
    """100 vehicles at 4 states a second, then at 15, each with a mission on all of them."""
    if mosquitto() is None:
        yield "VDA 5050", "mosquitto is not installed", ""
        return
    found = measured(100, HERTZ, 10.0)
    lag, start = found["lag_ms"], found["mission_start_ms"]
    name = f"100 VDA 5050 vehicles at {HERTZ:g} Hz"
    yield f"{name}: lag of a state p50 / p99", f"{lag['p50']:.0f} / {lag['p99']:.0f} ms", "bounded"
    yield f"{name}: mission start p50 / p99", f"{start['p50']:.0f} / {start['p99']:.0f} ms", "p99 < 1000 ms"
    yield f"{name}: states lost or given up", str(found["states_lost"] + found["states_given_up"]), "0"
    many = measured(100, MANY_HERTZ, 10.0)
    yield (
        "VDA 5050 states/s into one gateway",
        f"{many['states_per_s']:,}/s, lag p99 {many['lag_ms']['p99']:.0f} ms",
        ">= 1,000",
    )


def measured(vehicles: int, hertz: float, seconds: float) -> dict[str, object]:
    """One run with a broker and the vehicles as processes of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(settings_of(port))
        url = f"mqtt://127.0.0.1:{port}"
        again = ["--fleet", url, "--vehicles", str(vehicles), "--hertz", str(hertz)]
        children = [subprocess.Popen([mosquitto(), "-c", str(settings)], stderr=subprocess.DEVNULL)]
        time.sleep(0.5)
        children.append(subprocess.Popen([sys.executable, __file__, *again]))
        try:
            return asyncio.run(gateway(url, vehicles, seconds))
        finally:
            link_adapter.take = listening.take
            for child in children:
                child.terminate()
                child.wait(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vehicles", type=int, default=100)
    parser.add_argument("--hertz", type=float, default=HERTZ)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--fleet", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fleet:
        asyncio.run(fleet(options.fleet, options.vehicles, options.hertz))
        return
    if mosquitto() is None:
        sys.exit("mosquitto is not installed; this bench needs it")
    print(json.dumps(measured(options.vehicles, options.hertz, options.seconds), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
