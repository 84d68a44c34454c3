"""Two VDA 5050 vehicles at a broker that obey lines of JSON: the other side of the contract, in a process of its own."""

import asyncio
import json
import os
import sys

from fleet.adapters.simulated.vda5050_fleet import Speech, run_vehicle
from fleet.adapters.simulated.vda5050_ground import BenchGround
from fleet.adapters.simulated.vda5050_messages import Identity
from fleet.adapters.simulated.vda5050_vehicle import Faults, Vehicle
from fleet.mqtt import open_mqtt
from fleet.timepieces import SystemClock

PLACE = (1.0, 2.0)


def reset(ground, vehicle):
    """As if it had just been built."""
    vehicle.restart(forgets=True)
    vehicle.faults = Faults()
    ground.begun.clear()
    ground.place = PLACE


async def nonsense(url, major, serials):
    async with open_mqtt(url) as liar:
        await liar.heard()
        for serial in serials:
            for name in ("state", "connection", "factsheet", "visualization"):
                for payload in (b"", b"\xff\xfe", b"[1]", b'{"orderId": 7, "driving": "maybe"}', b"{" * 10_000):
                    liar.publish(f"uagv/v{major}/bench/{serial}/{name}", payload)
        await asyncio.sleep(0.1)


async def main(url, version):
    clock = SystemClock()
    speech = Speech("bench", version, "uagv", 0.2)
    serials = (f"{version}-robot_01", f"{version}-robot_02")
    grounds = {serial: BenchGround(clock, place=PLACE) for serial in serials}
    vehicles = {serial: Vehicle(grounds[serial], Identity("bench", serial, version)) for serial in serials}
    driving = [asyncio.create_task(run_vehicle(vehicle, url, speech, clock)) for vehicle in vehicles.values()]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)  # noqa: T201 - lines of JSON are its only way to speak
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] in {"mute", "quiet"}:
            for vehicle in vehicles.values():
                vehicle.faults.is_mute = command["on"]
        elif command["do"] == "nonsense":
            await nonsense(url, version[0], serials)
        elif command["do"] == "reset":
            for serial in serials:
                reset(grounds[serial], vehicles[serial])
        began = {f"bench/{serial}": ground.begun for serial, ground in grounds.items()}
        print(json.dumps({"executed": began}), flush=True)  # noqa: T201
    for task in driving:
        task.cancel()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
