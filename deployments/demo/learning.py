"""What is learnt from the night and its past, and the report that a customer downloads."""

import json
from datetime import datetime

from sqlmodel import Session, col, select

from deployments.demo.night import SOON_S, Night, Outcome, problems_of
from deployments.local import own_command, shown
from fleet.errors import Rejected
from fleet.robots import Robot
from missions.models import Mission
from ml.models import RobotHealth

STARTS = {"html": b"<!doctype html", "pdf": b"%PDF-", "csv": b"", "parquet": b"PAR1"}
SIZE_MIN_BYTES = {"html": 10_000, "pdf": 10_000, "csv": 100, "parquet": 500}


async def train(night: Night) -> Outcome:
    """Press train-rul; the model is tracked, registered and champion, and every robot has a health row of it."""
    run = await night.run("train-rul", {"organisation": "demo"}, within_s=2 * SOON_S)
    rows = await night.read(lambda session: _health(session, night))
    artifacts = {artifact["key"]: artifact["data"] for artifact in await night.prefect.artifacts(str(run["id"]))}
    told = {row["what"]: row["value"] for row in _table(artifacts.get("training"))}
    checks = {
        f"the model became champion ({told.get('reason')})": told.get("is promoted") == "True",
        "it errs less than a mean guess": float(told.get("rmse hours", "inf"))
        < float(told.get("baseline rmse hours", 0.0)),
        "every robot has a health row": len({row.robot_id for row in rows}) >= 4,
        "every expectation lies within its interval": all(
            row.rul_lower_hours <= row.rul_hours <= row.rul_upper_hours for row in rows
        ),
        "data and features are named by their hashes": len(told.get("data hash", "")) == 64
        and len(told.get("feature hash", "")) >= 16,
    }
    how_many = (
        f"RMSE {float(told.get('rmse hours', 'nan')):.1f} h (mean guess {float(told.get('baseline rmse hours', 'nan')):.1f} h), "
        f"{len(rows)} robots scored"
    )
    return Outcome(how_many, f"{own_command()} --var {shown(night.var)} mlflow", problems_of(checks))


def _table(data: object) -> list[dict[str, str]]:
    rows = json.loads(data) if isinstance(data, str) else data
    return [{name: str(value) for name, value in row.items()} for row in rows] if isinstance(rows, list) else []


def _health(session: Session, night: Night) -> list[RobotHealth]:
    mine = select(RobotHealth).join(Robot).where(RobotHealth.organisation_id == night.organisation_id)
    return list(session.exec(mine).all())


def _began_at(session: Session, night: Night) -> datetime:
    """When the night's first mission was asked for: the report's period begins there."""
    mine = select(Mission.created_at).where(Mission.organisation_id == night.organisation_id)
    return session.exec(mine.order_by(col(Mission.created_at)).limit(1)).one()


async def publish(night: Night) -> Outcome:
    """Press publish-report, and download it as the customer; to another organisation's customer it is not there."""
    began = await night.read(lambda session: _began_at(session, night))
    wanted: dict[str, object] = {"organisation": "demo", "site": "north-plant", "period_from": began.isoformat()}
    await night.run("publish-report", wanted, within_s=2 * SOON_S)
    access = night.platform.access
    listing = json.loads((await night.ask("GET", "/v1/reports", token=access.customer_token)).body)
    report = listing["items"][0]
    folder = night.var / "report"
    folder.mkdir(exist_ok=True)
    checks: dict[str, bool] = {"the customer sees one report": len(listing["items"]) == 1}
    size = 0
    for form, path in sorted(report["files"].items()):
        answer = await night.ask("GET", path, token=access.customer_token)
        if answer.status != 200:
            raise Rejected(f"The customer's download of {path} answered {answer.status}: {answer.body[:200]!r}")
        (folder / f"fleet.{form}").write_bytes(answer.body)
        size += len(answer.body)
        checks[f"the {form} file is one"] = answer.body[:20].lower().startswith(STARTS[form].lower())
        checks[f"the {form} file is not nearly empty ({len(answer.body)} bytes)"] = (
            len(answer.body) > SIZE_MIN_BYTES[form]
        )
        stranger = await night.ask("GET", path, token=access.other_customer_token)
        checks[f"another organisation's customer gets 404 for {form} (it was {stranger.status})"] = (
            stranger.status == 404
        )
    checks["all four formats are there"] = set(report["files"]) == set(STARTS)
    return Outcome(
        f"{len(report['files'])} files, {size / 1000:.0f} kB, for the customer alone",
        shown(folder),
        problems_of(checks),
    )
