"""One robot as a gateway knows it: what it said last, how well it is heard, what it exposes, and the order it has of us."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleet.adapter import Activity, Capabilities, Observation
from fleet.adapters.vda5050.options import Options, RobotOptions
from fleet.adapters.vda5050.outgoing import Envelope
from fleet.adapters.vda5050.routes import Ability, tasks_of
from fleet.adapters.vda5050.runs import Run
from fleet.adapters.vda5050.wire import (
    CONNECTION,
    FACTSHEET,
    INSTANT_ACTIONS,
    ORDER,
    RESPONSES,
    STATE,
    VERSIONS,
    VISUALIZATION,
    Factsheet,
    Header,
    Place,
    State,
)
from fleet.push import Endpoint, Exposure, Hearing

AWAY = {
    "OFFLINE": "it has gone offline in an orderly way",
    "CONNECTION_BROKEN": "its connection to the broker broke",
    "HIBERNATING": "it hibernates",
}
OLD_BELIEVED = 3  # messages in a row that are older by clock and number: the robot began anew with a wrong clock
GAP_MAX = 10_000  # a larger jump of the header ids is no loss but another count
COMPLAINTS_KEPT = 4
CLOCK_BEHIND, CLOCK_AHEAD = timedelta(hours=1), timedelta(seconds=60)
USUAL_VERSION = "2.1.0"
SAID = (STATE, CONNECTION, FACTSHEET, VISUALIZATION)


@dataclass
class Newest:
    """Newer wins on one topic, by the robot's clock and its header ids together; gaps are counted as lost messages."""

    number: int | None = None
    at: datetime | None = None
    lost: int = 0
    older: int = 0

    def takes(self, header: Header) -> bool:
        """Whether this message is news; when it is, the next is judged by it."""
        if self._is_old(header):
            self.older += 1
            if self.older < OLD_BELIEVED:
                return False
        elif self.number is not None and header.number is not None and header.number > self.number + 1:
            gap = header.number - self.number - 1
            self.lost += gap if gap <= GAP_MAX else 0
        self.number, self.at, self.older = header.number, header.at, 0
        return True

    def _is_old(self, header: Header) -> bool:
        if header.number is None or self.number is None:
            return header.at is not None and self.at is not None and header.at < self.at
        if header.at is None or self.at is None:
            return header.number == self.number
        return header.number <= self.number and header.at <= self.at


@dataclass
class Robot:
    """What is known; times named `_s` are of the monotonic clock."""

    address: str
    options: Options
    since_s: float
    state: State | None = None
    state_s: float | None = None  # when the last fresh (not retained) state came
    place: Place | None = None
    connection: str = ""
    connection_s: float = 0.0
    factsheet: Factsheet | None = None
    told_version: str = ""
    newest: dict[str, Newest] = field(default_factory=dict)
    complaints: dict[str, list[str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    hearing: Hearing | None = None
    hearing_since: datetime | None = None
    key: str = ""
    run: Run | None = None
    untold: list[bytes] = field(default_factory=list)
    order_sent_s: float = -1e9
    resend_until_s: float = 0.0
    release_asked: tuple[str, float] = ("", 0.0)  # the stopPause that lifts a pause of an order that is over, and when
    next_s: dict[str, float] = field(default_factory=dict)  # what is asked for again not before
    asks: int = 0
    lost_told: int = 0
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    commands: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    own: RobotOptions = field(init=False)

    def __post_init__(self) -> None:
        """Its own options are worked out once."""
        self.own = self.options.of(self.address)

    @property
    def envelope(self) -> Envelope:
        """How messages to it are addressed, and in which version."""
        manufacturer, _, serial_number = self.address.partition("/")
        return Envelope(self.version, manufacturer, serial_number)

    @property
    def version(self) -> str:
        """The version that is spoken to it."""
        said = self.own.version or self.told_version
        return next((known for known in VERSIONS if known[:3] == said[:3]), USUAL_VERSION)

    @property
    def instant_actions_key(self) -> str:
        """The name of the array of instant actions besides `actions`: clients of 2.0 look for the one of 1.1."""
        return self.own.instant_actions_key or ("instantActions" if self.envelope.is_20 else "actions")

    @property
    def is_unspoken(self) -> bool:
        """Whether it speaks a version that we do not."""
        return bool(self.told_version) and self.told_version[:3] not in {known[:3] for known in VERSIONS}

    def topic(self, name: str) -> str:
        """The topic of this name for it."""
        to = self.envelope
        return f"{self.options.interface}/v{to.major}/{to.manufacturer}/{to.serial_number}/{name}"

    def number(self, topic: str, at: datetime) -> int:
        """The next header id on a topic; begun at the clock, so that it rises over restarts."""
        self.sent[topic] = self.sent[topic] + 1 if self.sent[topic] else int(at.timestamp()) % 2**32
        return self.sent[topic]

    def takes(self, topic: str, header: Header) -> bool:
        """Whether a message with this header is news."""
        return self.newest.setdefault(topic, Newest()).takes(header)

    def complain(self, topic: str, sentences: Sequence[str]) -> bool:
        """Keep what was wrong on a topic, each sentence once; whether there is a new one."""
        kept = self.complaints.setdefault(topic, [])
        news = [one for one in dict.fromkeys(sentences) if one not in kept][: max(0, COMPLAINTS_KEPT - len(kept))]
        kept.extend(news)
        return bool(news)

    def is_fresh(self, now_s: float) -> bool:
        """Whether what it said last can be believed: lately, on this connection, and not taken back by a will."""
        if self.state_s is None or now_s - self.state_s > self.silent_after_s:
            return False
        return self.connection not in AWAY or self.connection_s < self.state_s

    @property
    def silent_after_s(self) -> float:
        """Without a state for so long it is silent; twice its own interval where that is longer."""
        told = self.factsheet.state_interval_s if self.factsheet else None
        return max(self.options.silent_after_s, 2.0 * min(told or 0.0, 300.0))

    def observed_at(self, now: datetime) -> datetime:
        """When it said its state, by its own clock unless that is hopeless."""
        at = self.state.header.at if self.state else None
        if at is None or at < now - CLOCK_BEHIND or at > now + CLOCK_AHEAD:
            return now
        return at

    @property
    def ability(self) -> Ability:
        """What an order is written by."""
        last_node_id = self.state.last_node_id if self.state else ""
        return Ability(self.envelope, self.own, self.factsheet, self.place, last_node_id)

    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        offered = self.factsheet.actions if self.factsheet else {}
        is_pausable = not offered or "startPause" in offered or self.version[0] == "3"
        return Capabilities(
            deduplicates=True,
            queryable=True,
            cancellable=True,
            pausable=is_pausable,
            tasks=tasks_of(self.own, self.factsheet),
        )

    @property
    def has_foreign_work(self) -> bool:
        """Whether it carries out an order that is not a live one of ours."""
        state, run = self.state, self.run
        is_ours = state is not None and run is not None and not run.is_over and state.order_id == run.order_id
        return state is not None and state.has_work and not is_ours

    @property
    def is_being_released(self) -> bool:
        """Whether it is, or may come to be, in a pause that we put on an order which is over by now."""
        return bool(self.run and self.run.is_over and self.run.is_pause_asked)

    def activity(self, now_s: float) -> Activity:
        """What it is doing, as its last state has it."""
        state = self.state
        if state is None or not self.is_fresh(now_s):
            return Activity.offline
        if state.emergency_stop != "NONE" or any(trouble.level == "FATAL" for trouble in state.troubles):
            return Activity.error
        if state.mode not in {"AUTOMATIC", ""}:
            return Activity.maintenance
        if state.is_paused:
            return Activity.paused
        if state.has_work:
            return Activity.executing
        return Activity.charging if state.is_charging else Activity.idle

    def observation(self, now_s: float, now: datetime) -> Observation | None:
        """What it says of itself; None before it said anything."""
        if self.state is None:
            return None
        place, run = self.place, self.run
        is_placed, activity = place is not None and place.is_localized, self.activity(now_s)
        return Observation(
            serial_number=self.address,
            observed_at=now if activity is Activity.offline else self.observed_at(now),
            activity=activity,
            battery_fraction=self.state.battery_fraction,
            x_m=place.x_m if place and is_placed else None,
            y_m=place.y_m if place and is_placed else None,
            yaw_rad=place.theta_rad if place and is_placed else None,
            order_key=self.key if run and run.is_confirmed and not run.is_over else None,
        )

    def unready(self, now_s: float) -> str:
        """Why it would refuse an order now; "" when it would not. Only for a robot that is fresh."""
        state = self.state
        if state is None or self.is_unspoken:
            return f"it speaks VDA 5050 {self.told_version}; spoken are {', '.join(VERSIONS)}"
        if self.has_foreign_work:
            return f"it carries out order {state.order_id!r}, which is not ours; nothing is put on top"
        if state.mode not in {"AUTOMATIC", ""}:
            return f"its operating mode is {state.mode}; it must be AUTOMATIC"
        if state.emergency_stop != "NONE":
            return f"its emergency stop is active ({state.emergency_stop})"
        fatal = next((trouble.words for trouble in state.troubles if trouble.level == "FATAL"), "")
        if fatal:
            return f"it cannot work: {fatal}"
        return "it is paused at the robot itself; let it go on there first" if state.is_paused else ""

    def exposure(self, now_s: float) -> Exposure:
        """What it exposes over MQTT, and why commands would be refused."""
        sheet = self.factsheet
        facts = {"version": self.told_version or "not told", "spoken": self.version}
        if sheet is not None:
            facts |= {"series": sheet.series, "class": sheet.kind}
        actions = sorted(sheet.actions.values(), key=lambda one: one.name) if sheet else []
        offered = [
            Endpoint(name=one.name, kind="action", type=" ".join(sorted(one.scopes)) or "any scope") for one in actions
        ]
        reason = self.unready(now_s) if self.is_fresh(now_s) else "no fresh state of it has been heard"
        return Exposure(
            serial_number=self.address,
            link="mqtt",
            endpoints=(*self._topics(), *offered),
            facts=facts,
            refusals=(reason,) if reason else (),
        )

    def _topics(self) -> list[Endpoint]:
        said = [
            Endpoint(
                name=self.topic(name),
                kind="publisher",
                type=f"vda5050/{name}",
                qos={"qos": "1" if name == CONNECTION else "0"},
                complaint="; ".join(self.complaints.get(name, ())),
            )
            for name in SAID
            if name in self.newest or name in self.complaints
        ]
        taken = [ORDER, INSTANT_ACTIONS, *([RESPONSES] if self.version[0] == "3" else [])]
        return said + [
            Endpoint(name=self.topic(name), kind="subscriber", type=f"vda5050/{name}", qos={"qos": "0"})
            for name in taken
        ]
