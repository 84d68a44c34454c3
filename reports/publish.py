"""Publishing: the report of a site and period becomes files in the object store and one row that never changes."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from uuid import UUID

from sqlmodel import Session, select

from fleet import changes
from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Invalid
from fleet.events import insert_new
from fleet.objectstore import ObjectStore, Stored
from reports.content import FleetReport
from reports.fleet import build
from reports.models import Report
from reports.render.html import html
from reports.render.pdf import pdf
from reports.render.tables import csv_text, parquet
from reports.words import title

KIND = "fleet"
RENDERERS: Mapping[str, Callable[[FleetReport], bytes]] = {
    "html": html,
    "pdf": pdf,
    "csv": csv_text,
    "parquet": parquet,
}
Transaction = Callable[[], AbstractContextManager[Session]]


def publish(  # noqa: PLR0913  the parts and the five words of the request
    *,
    transaction: Transaction,
    objects: ObjectStore,
    organisation_id: UUID,
    site_id: UUID,
    period_from: datetime,
    period_to: datetime,
    key: str,
    who: str,
) -> Report:
    """The published fleet report of (organisation, key): a new one, or the one that was published under that key.

    Files are written first, then their manifest, then the row; a crash in between leaves nothing that a reader sees.

    Raises:
        Invalid, NotFound: as `reports.fleet.build`; Invalid also for an empty key.
    """
    if not key:
        raise Invalid("A report needs a key, so that publishing it twice gives one report.")
    with transaction() as session:
        found = _published(session, organisation_id, key)
        if found is not None:
            return found
        content = build(
            session,
            organisation_id=organisation_id,
            site_id=site_id,
            period_from=period_from,
            period_to=period_to,
        )
    # Rendering takes a second or two: no transaction is open meanwhile.
    row = _write(objects, content, organisation_id, site_id, key=key, who=who)
    with transaction() as session:
        kept = _keep(session, row)
    if kept.id != row.id:
        _remove(objects, row)
    return kept


def _published(session: Session, organisation_id: UUID, key: str) -> Report | None:
    same = select(Report).where(Report.organisation_id == organisation_id, Report.kind == KIND, Report.key == key)
    return session.exec(same).first()


def _write(
    objects: ObjectStore, content: FleetReport, organisation_id: UUID, site_id: UUID, *, key: str, who: str
) -> Report:
    report_id = new_id()
    root = f"{organisation_id}/reports/{report_id}"
    stored = {form: objects.put(f"{root}/{KIND}.{form}", render(content)) for form, render in RENDERERS.items()}
    manifest_key = f"{root}/manifest.json"
    objects.publish(manifest_key, _manifest(content, report_id, stored))
    return Report(
        id=report_id,
        organisation_id=organisation_id,
        site_id=site_id,
        kind=KIND,
        key=key,
        title=title(content),
        period_from=content.period_from,
        period_to=content.period_to,
        manifest_key=manifest_key,
        files={form: file.key for form, file in stored.items()},
        published_at=content.generated_at,
        published_by=who,
    )


def _manifest(content: FleetReport, report_id: UUID, stored: Mapping[str, Stored]) -> dict[str, object]:
    return {
        "report": str(report_id),
        "kind": KIND,
        "site": content.site,
        "period_from": content.period_from.isoformat(),
        "period_to": content.period_to.isoformat(),
        "missions": len(content.missions),
        "files": {form: {"key": file.key, "size": file.size, "sha256": file.sha256} for form, file in stored.items()},
    }


def _keep(session: Session, row: Report) -> Report:
    """The row that stands: this one, or that of another publisher who was faster with the same key."""
    row.published_at = database_now(session)
    if insert_new(session, Report, row.model_dump(), on=["organisation_id", "kind", "key"]):
        changes.record(
            session,
            organisation_id=row.organisation_id,
            subject="report",
            subject_id=row.id,
            kind="published",
            fields={"title": row.title, "key": row.key},
        )
    standing = _published(session, row.organisation_id, row.key)
    assert standing is not None
    return standing


def _remove(objects: ObjectStore, row: Report) -> None:
    for key in (row.manifest_key, *row.files.values()):
        objects.delete(key)
