"""What is answered from the journal about orders that are over (pure)."""

from datetime import datetime

from pydantic import ValidationError

from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, Refused, SubmitOutcome, Unknown
from fleet.journal import Entry


def settled(known: Entry) -> SubmitOutcome:
    """The answer to a key that is over, or that another robot has."""
    report = kept_report(known, known.robot, None)
    if isinstance(report, OrderReport) and report.status in {OrderStatus.rejected, OrderStatus.canceled}:
        return Refused(reason=report.reason or "canceled")
    return Accepted(reference=str(known.state.get("order_id", "")))


def kept_report(known: Entry, serial_number: str, now: datetime | None) -> OrderReport | Unknown:
    """The last report of an order as it was kept; of another robot: not found."""
    said = known.state.get("report")
    try:
        report = OrderReport.model_validate(said)
    except ValidationError:
        return Unknown(why=f"the journal's report of {known.key} cannot be read")
    if report.serial_number != serial_number and now is not None:
        return report_of(known.key, serial_number, OrderStatus.not_found, now)
    return report


def report_of(key: str, serial_number: str, status: OrderStatus, at: datetime) -> OrderReport:
    """A report without tasks."""
    sequence = int(at.timestamp() * 1000)
    return OrderReport(key=key, serial_number=serial_number, status=status, observed_at=at, sequence=sequence)


def declined(key: str, serial_number: str, at: datetime) -> dict[str, object]:
    """What is kept of a key that was canceled before it came."""
    return _over(report_of(key, serial_number, OrderStatus.canceled, at), "canceled before it came")


def refused(order: Order, at: datetime, reason: str) -> dict[str, object]:
    """What is kept of an order that was refused before anything was sent."""
    report = report_of(order.key, order.serial_number, OrderStatus.rejected, at)
    return _over(report.model_copy(update={"fence": order.fence}), reason)


def _over(report: OrderReport, reason: str) -> dict[str, object]:
    return {"report": report.model_copy(update={"reason": reason}).model_dump(mode="json")}
