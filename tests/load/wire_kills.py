"""Gateway, API and dispatchers killed with SIGKILL at random instants while missions run over ROS 2 and VDA 5050.

`python tests/load/wire_kills.py` prints the figures (200 kills), `... trial --rounds 20 [--postgresql]` one storm as JSON.
What happened is judged by the site's own record of what its robots were told and did; where something was wrong, the
records stay, with an explanation. Without mosquitto all robots speak ROS 2.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from uuid import UUID

import kills
from sqlmodel import Session, col, select
from wire_evidence import Place, Result, keep, words_of

from deployments.links import Links, answers, broker_command, own_domain, write_broker_config
from deployments.ports import HOST, any_free
from deployments.schema import migrate
from deployments.seed_links import GATEWAY, seed_links
from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderReport, OrderStatus
from fleet.adapters.simulated import site_map
from fleet.adapters.simulated.local_orders import VDA5050
from fleet.adapters.simulated.record import SiteRecord, read_record
from fleet.adapters.simulated.site import SiteOptions
from fleet.adapters.vda5050.runs import order_id
from fleet.clock import SystemClock
from fleet.gateways import RobotLink, accounts_of, add_gateway, gateway_named
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, issue_token
from fleet.push import Hearing
from fleet.robots import Robot, RobotLease
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings, child_environment
from fleet.transport import probe
from missions.models import (
    ATTEMPT_TERMINAL,
    MISSION_TERMINAL,
    Attempt,
    AttemptStatus,
    Mission,
    OutboxMessage,
    OutboxStatus,
    TaskResult,
)
from missions.simulation.books import illegal

ROUNDS = 200
ROBOTS = 6
KILLED = ("gateway", "gateway", "api", "dispatcher1", "dispatcher2")  # a gateway is twice as likely as others
PAUSE_S = (0.1, 3.0)  # until the next kill; before it all live orders must have been heard of again, but for
TWICE = 0.25  # this share of the kills, upon which the next one follows
RECONCILED_S = 30.0


@dataclass
class Storm(kills.Storm):
    """Kills what is named in `KILLED`; looks how long it takes until every live order was heard of again."""

    struck: tuple[datetime, set[object]] | None = None
    down: set[str] = field(default_factory=set)  # of two gateways the killed one stays away until the next kill
    wire: Result = field(default_factory=Result)
    late: set[object] = field(default_factory=set)  # attempts of which nothing was heard in time

    def strike(self) -> None:
        """Kill one of the processes, and begin it again."""
        name = self.chance.choice(KILLED)
        if name == "gateway":
            name = self.chance.choice(
                [one for one in self.commands if one.startswith("gateway") and one not in self.down]
            )
        with self.runtime.reading() as session:
            live = set(session.exec(_live()).all())
        self.processes[name].kill()
        self.processes[name].wait()
        self.wire.kills[name.rstrip("12")] += 1
        before = self.struck[1] if self.struck else set()
        self.struck = SystemClock().now(), live | before
        for waiting in self.down:
            self.start(waiting)
        self.down = {name} if "gateway2" in self.commands and name.startswith("gateway") else set()
        if not self.down:
            self.start(name)

    def start(self, name: str) -> None:
        """Begin the process of this name; what it says is kept beside the database."""
        with (self.runtime.settings.var_dir / f"{name}.log").open("ab") as log:
            command = [sys.executable, *self.commands[name]]
            self.processes[name] = subprocess.Popen(
                command, cwd=kills.ROOT, env=self.environment, stdout=log, stderr=log
            )

    def top_up(self) -> None:
        """Keep missions waiting, and look what was reconciled."""
        super().top_up()
        self.look()

    def request(self, number: int) -> None:
        """Ask for a mission, and look what was reconciled: on a machine with much to do many requests take long."""
        super().request(number)
        self.look()

    def look(self) -> None:
        """Note when all that was live at the last kill has been heard of again since, or is over; by the books' own times."""
        if self.struck is None:
            return
        at, live = self.struck
        query = select(Attempt.id, Attempt.finished_at, Attempt.heard_at).where(col(Attempt.id).in_(live))
        with self.runtime.reading() as session:
            books = session.exec(query).all()
        now = SystemClock().now()
        unknown = {one for one, over_at, heard_at in books if over_at is None and (heard_at is None or heard_at < at)}
        known = [(one, over_at or heard_at) for one, over_at, heard_at in books if one not in unknown]
        took_s = {one: (since - at).total_seconds() for one, since in [*known, *((one, now) for one in unknown)]}
        self.late |= {one for one, seconds in took_s.items() if seconds > RECONCILED_S}
        if not unknown:
            self.wire.reconciled_s.append(round(max([0.0, *took_s.values()]), 2))
            self.struck = None

    def rest(self, seconds: float) -> None:
        """Let missions come and go for so long."""
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0:
            self.top_up()
            time.sleep(min(left_s, kills.ASKS_EVERY_S))


def _live() -> object:
    return select(Attempt.id).where(
        col(Attempt.finished_at).is_(None), col(Attempt.status).not_in([AttemptStatus.prepared, *ATTEMPT_TERMINAL])
    )


def run(settings: Settings, *, rounds: int, seed: int, gateways: int = 1, evidence: Path | None = None) -> Result:
    """One storm of so many kills on the database of `settings`; what explains a wrong is kept in `evidence`."""
    with platform(settings, robots=ROBOTS, gateways=gateways, seed=seed) as storm:
        _rage(storm, rounds)
        kills._calm(storm)
        kills._until(lambda: (storm.look(), storm.struck is None)[1])
        storm.end()
        storm.wire.missions = storm.result.missions
        record = read_record(settings.var_dir / "site" / "journal.db")
        with storm.runtime.reading() as session:
            suspects = judge(session, storm.wire, record)
            late = select(Attempt.mission_id).where(col(Attempt.id).in_(storm.late))
            suspects |= {str(mission): "not heard of in time" for mission in session.exec(late).all()}
            if storm.wire.wrongs:
                storm.wire.evidence = str(keep(session, settings.var_dir, record, suspects, within=evidence))
    return storm.wire


@contextmanager
def platform(
    settings: Settings, *, robots: int, gateways: int = 1, seed: int = 1, speed: float = 60.0
) -> Iterator[Storm]:
    """API, two dispatchers, gateways and a site with so many robots on both links, ready for missions."""
    runtime = open_runtime(settings)
    migrate(runtime.engine)
    with own_domain() as domain, _broker(settings.var_dir) as mqtt_url:
        ports = any_free(), any_free()
        links = Links(domain, mqtt_url)
        access = _populate(runtime, f"http://{HOST}:{ports[0]}", links, robots, gateways)
        options = SiteOptions(
            port=ports[0],
            robots=robots,
            speed=speed,
            credential="c",
            history_lives=0,
            bags_dir=settings.var_dir / "site",
            ros2_url=links.ros2_url,
            mqtt_url=links.mqtt_url,
        )
        storm = _storm(runtime, ports[1], options, access, seed)
        try:
            for name in storm.commands:
                storm.start(name)
            kills._until(lambda: probe(f"{storm.api}/readyz", timeout_s=1.0) == 200)
            kills._until(lambda: _reached(runtime) == robots)
            yield storm
        finally:
            storm.end()
    runtime.engine.dispose()


def _reached(runtime: Runtime) -> int:
    with runtime.reading() as session:
        return len(session.exec(select(RobotLink).where(RobotLink.hearing == Hearing.well)).all())


def _storm(runtime: Runtime, port: int, options: SiteOptions, access: tuple[str, list[str]], seed: int) -> Storm:
    settings, (token, gateway_tokens) = runtime.settings, access
    var = settings.var_dir
    commands = {
        "dispatcher1": ["-m", "orchestration.dispatcher"],
        "dispatcher2": ["-m", "orchestration.dispatcher"],
        "api": ["-m", "api.serve", "--host", HOST, "--port", str(port)],
        "site": ["-c", kills.SITE, options.model_dump_json()],
    }
    for number, gateway_token in enumerate(gateway_tokens, start=1):
        name = f"gateway{number}"
        (var / f"{name}.token").write_text(gateway_token)
        url = ("--url", f"ws://{HOST}:{port}/v1/link", "--log-level", settings.log_level)
        files = ("--token-file", str(var / f"{name}.token"), "--journal", str(var / f"{name}.db"))
        commands[name] = ["-m", "orchestration.gateway", *url, *files]
    values = {"YARDMASTER_VAR_DIR": str(var), "YARDMASTER_LOG_LEVEL": settings.log_level}
    if settings.database_url:
        values["YARDMASTER_DATABASE_URL"] = settings.database_url
    environment = child_environment(values)
    return Storm(runtime, commands, environment, f"http://{HOST}:{port}", token, Random(seed))


def _rage(storm: Storm, rounds: int) -> None:
    storm.top_up()
    kills._until(lambda: _begun(storm.runtime))
    for _ in range(rounds):
        if storm.chance.random() < 0.3:
            storm.command()
        storm.rest(storm.chance.uniform(*PAUSE_S))
        storm.strike()
        if storm.chance.random() < TWICE:
            continue  # the next one strikes while this one is not mended
        kills._until(lambda: (storm.top_up(), storm.struck is None)[1])


def _begun(runtime: Runtime) -> bool:
    with runtime.reading() as session:
        return session.exec(select(Attempt.id).where(col(Attempt.started_at).is_not(None))).first() is not None


def judge(session: Session, result: Result, record: SiteRecord) -> dict[str, str]:
    """Count what must never be, by the site's own record and our own books; the missions that are to be explained."""
    missions = session.exec(select(Mission)).all()
    attempts = {attempt.id: attempt for attempt in session.exec(select(Attempt)).all()}
    words = _words(list(attempts.values()))
    begun = [report for report in record.reports.values() if any(task.started_at for task in report.tasks)]
    known = [report for report in begun if _word(report) in words]
    result.goals = sum(not word.startswith(VDA5050) for word in record.reports)
    result.orders = len(record.reports) - result.goals
    result.statuses = Counter(mission.status.value for mission in missions)
    result.too_late = sum(took > RECONCILED_S for took in result.reconciled_s)
    result.unfinished = sum(mission.status not in MISSION_TERMINAL for mission in missions)
    doubled = [
        words[_word(later)][0]
        for before, later in kills._pairs(known, lambda report: words[_word(report)])
        if before.status is OrderStatus.succeeded or kills._at_once(before, later)
    ]
    result.doubled = len(doubled)
    result.again = len(record.again)
    result.overlapping = sum(
        kills._at_once(before, later) for before, later in kills._pairs(begun, lambda report: report.serial_number)
    )
    result.strange = sum(word not in words for word in record.reports)
    done = {words[word] for word in record.with_status(OrderStatus.succeeded) if word in words}
    not_done = {mission for mission, _ in _booked(session, attempts, record) - done}
    result.not_done = len(not_done)
    result.illegal = illegal(session, missions)
    result.leases = len(session.exec(select(RobotLease)).all())
    result.live = len(session.exec(select(Attempt).where(col(Attempt.finished_at).is_(None))).all())
    result.unsent = len(session.exec(select(OutboxMessage).where(OutboxMessage.status == OutboxStatus.pending)).all())
    unfinished = {str(mission.id): "unfinished" for mission in missions if mission.status not in MISSION_TERMINAL}
    return unfinished | dict.fromkeys(not_done, "told as done, and not done") | dict.fromkeys(doubled, "done twice")


def _booked(session: Session, attempts: Mapping[UUID, Attempt], record: SiteRecord) -> set[Place]:
    """What the books say was done: tasks over ROS 2, orders over VDA 5050 as a whole."""
    whole = {one.id for one in attempts.values() if f"{VDA5050}{order_id(one.key)}" in record.reports}
    results = session.exec(select(TaskResult).where(TaskResult.status == "succeeded")).all()
    tasks = {(str(attempts[one.attempt_id].mission_id), one.position) for one in results if one.attempt_id not in whole}
    done = [attempts[one] for one in whole if attempts[one].status is AttemptStatus.succeeded]
    return tasks | {(str(one.mission_id), -1) for one in done}


def _word(report: OrderReport) -> str:
    return report.key.partition("/")[2]


def _words(attempts: Sequence[Attempt]) -> dict[str, Place]:
    """What each word that a robot may have been told stands for."""
    return {word: (str(attempt.mission_id), position) for word, (attempt, position, _) in words_of(attempts).items()}


def _populate(runtime: Runtime, url: str, links: Links, count: int, gateways: int) -> tuple[str, list[str]]:
    now = runtime.clock.now()
    with runtime.transaction() as session:
        organisation = Organisation(name="acme", created_at=now)
        session.add(organisation)
        session.flush()
        owned = {"organisation_id": organisation.id}
        site = Site(**owned, name="yard")
        words = {"name": "cloud", "manufacturer": "simulated", "base_url": url, "credential": "c", "webhook_secret": ""}
        account = ManufacturerAccount(**owned, **words, created_at=now)
        session.add_all([site, account])
        session.flush()
        owned["site_id"] = site.id
        for place in site_map.SITE_MAP:
            session.add(Station(**owned, name=place.name, kind=place.kind, x_m=place.x_m, y_m=place.y_m))
        fleet = site_map.robots(count)
        for one in fleet:
            names = {"name": one.name, "serial_number": one.serial_number}
            session.add(Robot(**owned, **names, account_id=account.id, capabilities=["drive"], created_at=now))
        session.flush()
        tokens = [seed_links(session, site, links, fleet, known="", now=now)]
        served = accounts_of(session, gateway_named(session, organisation.id, GATEWAY).id)
        tokens += [add_gateway(session, site, f"gateway {n}", served, now=now)[1] for n in range(2, gateways + 1)]
        return issue_token(session, Principal(PrincipalKind.user, "ops", organisation.id), now=now), tokens


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    command = broker_command()
    if command is None:
        yield ""
        return
    port = any_free()
    with ExitStack() as stack:
        config = write_broker_config(folder, port)
        broker = stack.enter_context(
            subprocess.Popen([command, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        stack.callback(broker.terminate)
        kills._until(lambda: answers(port))
        yield f"mqtt://{HOST}:{port}"


def figures(rounds: int = ROUNDS) -> Iterator[tuple[str, str, str]]:
    """A storm of three quarters of the kills with one gateway, and one of the rest with two that take over."""
    for gateways, share in ((1, rounds - rounds // 4), (2, rounds // 4)):
        began = time.monotonic()
        with kills.settings_on("SQLite") as settings:
            result = run(settings, rounds=share, seed=gateways, gateways=gateways)
        killed = ", ".join(f"{count} {name}" for name, count in sorted(result.kills.items()))
        ends = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
        took, slowest = f"{time.monotonic() - began:.0f} s", max(result.reconciled_s, default=0.0)
        wired = f"with {gateways} gateway{'s' if gateways > 1 else ''}"
        yield f"kill -9 rounds on the wire {wired}", f"{result.kills.total()} ({killed}) in {took}", str(share)
        yield "  missions meanwhile", f"{ends}; {result.goals} goals, {result.orders} orders", "each in one final state"
        yield "  reconciled after a kill", f"at most {slowest:.1f} s", "< 30 s"
        yield "  goals and orders executed twice", str(result.doubled + result.again), "0"
        yield "  missions lost", str(result.unfinished), "0"
        others = {
            name: count for name, count in result.wrongs.items() if name not in {"doubled", "again", "unfinished"}
        }
        yield "  other wrongs on the wire", str(others or "none"), "none"


def main() -> None:
    """All figures, or one trial as JSON."""
    if sys.argv[1:2] != ["trial"]:
        sys.stdout.writelines(" | ".join(figure) + "\n" for figure in figures())
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("trial")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gateways", type=int, default=1, help="so many serve the same robots, and take them over")
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--evidence", type=Path, help="folder in which the records of a wrong are kept")
    how = parser.parse_args()
    with kills.settings_on("PostgreSQL" if how.postgresql else "SQLite") as quiet:
        settings = quiet.model_copy(update={"log_level": "info"})  # gateways' logs are evidence
        result = run(settings, rounds=how.rounds, seed=how.seed, gateways=how.gateways, evidence=how.evidence)
    told = {**asdict(result), "kills": dict(result.kills), "statuses": dict(result.statuses), "wrongs": result.wrongs}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
