"""What is waited for at a robot, but not for long: its first fresh state, and the state that shows an order."""

import asyncio
from contextlib import suppress

from fleet.adapter import Accepted, OrderStatus, Refused, SubmitOutcome, Unknown
from fleet.adapters.vda5050.link import Link
from fleet.adapters.vda5050.robot import Robot

TAKEN_S = 8.0  # after which a robot that was taken over should have been heard


async def confirmation(link: Link, robot: Robot, key: str) -> SubmitOutcome:
    """What the robot's states say of an order that was sent, as soon as they say it."""
    try:
        async with asyncio.timeout(link.options.confirm_s):
            while True:
                robot.changed.clear()
                run = robot.run
                if run is None or robot.key != key:
                    return Unknown(why="another order took its place")
                if run.report.status is OrderStatus.rejected:
                    return Refused(reason=run.report.reason)
                if run.is_confirmed:
                    return Accepted(reference=run.order_id)
                if run.is_over:
                    return Refused(reason=run.report.reason)
                await robot.changed.wait()
    except TimeoutError:
        sends = robot.run.sends if robot.run else 0
        how = f"sent {sends} times" if sends else f"not sent yet ({link.mqtt.why or 'it is not heard'})"
        return Unknown(why=f"the order was {how}, and no state of {robot.address} shows it")


async def is_heard(link: Link, robot: Robot) -> bool:
    """Whether there is a fresh state, waited for a little; so is the end of a pause that we put on it before."""
    try:
        async with asyncio.timeout(link.options.confirm_s):
            while not robot.is_fresh(link.now_s()) or robot.is_being_released:
                robot.changed.clear()
                await robot.changed.wait()
    except TimeoutError:
        return False
    return True


async def first_state(link: Link, robot: Robot) -> None:
    """Return when a robot that was only just taken over has told its state, or has had the time to.

    Who is told that nothing is known of it asks again only some seconds later.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, robot.since_s + TAKEN_S - link.now_s())):
            while robot.state_s is None:
                robot.changed.clear()
                await robot.changed.wait()
