"""Simulated robots as VDA 5050 vehicles at a broker: each with a connection and a last will of its own."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from fleet.adapters.simulated import vda5050_messages as messages
from fleet.adapters.simulated.vda5050_ground import WorldGround
from fleet.adapters.simulated.vda5050_messages import Identity, Message
from fleet.adapters.simulated.vda5050_vehicle import Vehicle
from fleet.adapters.simulated.world import World
from fleet.mqtt import Heard, Mqtt, Will, open_mqtt
from fleet.timepieces import Clock

LOOKED_AT_EVERY_S = 0.05


@dataclass(frozen=True)
class Speech:
    """How vehicles speak."""

    manufacturer: str = "simulated"
    version: str = "2.1.0"
    interface: str = "uagv"
    state_every_s: float = 1.0


class Speaker:
    """One vehicle at the broker."""

    def __init__(self, vehicle: Vehicle, speech: Speech, clock: Clock) -> None:
        """See `run_vehicle`."""
        self.vehicle, self._speech, self._clock = vehicle, speech, clock
        self._numbers: Counter[str] = Counter()
        self._wants_state = True

    def topic(self, name: str) -> str:
        """Its topic of this name."""
        who = self.vehicle.who
        return f"{self._speech.interface}/v{who.version[0]}/{who.manufacturer}/{who.serial_number}/{name}"

    def will(self) -> Will:
        """What the broker says when it vanishes."""
        return Will(self.topic("connection"), self._said("connection", self._connection("CONNECTION_BROKEN")))

    async def run(self, mqtt: Mqtt) -> None:
        """Live at this broker until cancelled, then leave in an orderly way."""
        mqtt.subscribe({self.topic("order"): 0, self.topic("instantActions"): 0})
        hearing = asyncio.create_task(self._hear(mqtt))
        try:
            await self._speak(mqtt)
        finally:
            hearing.cancel()
            self._publish(mqtt, "connection", self._connection("OFFLINE"), qos=1, is_retained=True)

    async def _hear(self, mqtt: Mqtt) -> None:
        while True:
            batch = await mqtt.heard()
            if batch.has_turned and batch.is_connected:
                self._publish(mqtt, "connection", self._connection("ONLINE"), qos=1, is_retained=True)
                self._publish(mqtt, "factsheet", messages.factsheet(self.vehicle.who), is_retained=True)
                self._wants_state = True
            for message in batch.messages:
                await asyncio.to_thread(self._take, message)

    def _take(self, message: Heard) -> None:
        try:
            found = orjson.loads(message.payload)
        except orjson.JSONDecodeError:
            return
        if not isinstance(found, dict) or message.is_retained:
            return
        if message.topic.endswith("/order"):
            self.vehicle.take_order(found)
        else:
            self.vehicle.take_instant(found)
        self._wants_state = True

    async def _speak(self, mqtt: Mqtt) -> None:
        last, next_s = Message(), 0.0
        while True:
            body = messages.state(self.vehicle.who, await asyncio.to_thread(self.vehicle.shown))
            now_s = self._clock.monotonic()
            is_news = _telling(body) != _telling(last)
            if (is_news or self._wants_state or now_s >= next_s) and not self.vehicle.faults.is_mute:
                self._wants_state = False
                if self._publish(mqtt, "state", body):
                    last, next_s = body, now_s + self._speech.state_every_s
            if self.vehicle.wants_factsheet:
                self.vehicle.wants_factsheet = False
                self._publish(mqtt, "factsheet", messages.factsheet(self.vehicle.who), is_retained=True)
            await asyncio.sleep(LOOKED_AT_EVERY_S)

    def _connection(self, said: str) -> Message:
        return messages.connection(self.vehicle.who, said)

    def _said(self, name: str, body: Message) -> bytes:
        self._numbers[name] += 1
        return orjson.dumps(messages.headed(self.vehicle.who, self._numbers[name], self._clock.now(), body))

    def _publish(self, mqtt: Mqtt, name: str, body: Message, *, qos: int = 0, is_retained: bool = False) -> bool:
        return mqtt.publish(self.topic(name), self._said(name, body), qos=qos, is_retained=is_retained)


def vehicle_of(world: World, unit: str, speech: Speech) -> Vehicle:
    """The vehicle of one robot of the world."""
    return Vehicle(WorldGround(world, unit), Identity(speech.manufacturer, unit, speech.version))


async def run_vehicle(vehicle: Vehicle, url: str, speech: Speech, clock: Clock) -> None:
    """One vehicle at the broker at `url`, until cancelled."""
    speaker = Speaker(vehicle, speech, clock)
    async with open_mqtt(url, will=speaker.will()) as mqtt:
        await speaker.run(mqtt)


async def run_vehicles(
    world: World, url: str, serial_numbers: Sequence[str], clock: Clock, *, speech: Speech | None = None
) -> None:
    """These robots of the world at the broker at `url`, until cancelled."""
    how = speech or Speech()
    async with asyncio.TaskGroup() as group:
        for unit in serial_numbers:
            group.create_task(run_vehicle(vehicle_of(world, unit, how), url, how, clock))


def _telling(body: Message) -> Message:
    """What of a state makes it worth telling at once."""
    told = ("orderId", "orderUpdateId", "lastNodeSequenceId", "nodeStates", "actionStates", "instantActionStates")
    return {
        name: body.get(name)
        for name in (*told, "newBaseRequest", "errors", "paused", "operatingMode", "safetyState", "driving")
    }
