"""Reports over HTTP: listed, downloaded whole or in ranges, and never shown to another organisation."""

from datetime import timedelta

import pytest

from fleet.runtime import Runtime
from reports.models import Report

HTML = b"<!doctype html><p>night" + b"." * 3000
FILES = {"html": HTML, "pdf": b"%PDF-1.7 x", "csv": b"a,b\n1,2\n", "parquet": b"PAR1....PAR1"}


@pytest.fixture
def report(runtime: Runtime, world, clock) -> Report:
    """A published report with four files."""
    keys = {name: f"{world.organisation.id}/reports/r/report.{name}" for name in FILES}
    for name, content in FILES.items():
        runtime.objects.put(keys[name], content)
    row = Report(
        organisation_id=world.organisation.id,
        site_id=world.site.id,
        kind="fleet",
        key="night-1",
        title="Fleet report: north",
        period_from=clock.now() - timedelta(days=1),
        period_to=clock.now(),
        manifest_key=f"{world.organisation.id}/reports/r/manifest.json",
        files=keys,
        published_at=clock.now(),
        published_by="prefect:publish-report",
    )
    with runtime.transaction() as session:
        session.add(row)
    return row


@pytest.fixture
def path(report: Report) -> str:
    return f"/v1/reports/{report.id}/files/html"


def test_a_report_is_listed_with_addresses_and_without_our_inside(customer, report):
    (shown,) = customer.get("/v1/reports").json()["items"]
    assert shown == customer.get(f"/v1/reports/{report.id}").json()
    assert shown["files"]["pdf"] == f"/v1/reports/{report.id}/files/pdf"
    assert {"organisation_id", "manifest_key"}.isdisjoint(shown)


@pytest.mark.parametrize(
    ("name", "media_type", "how"),
    [
        ("html", "text/html; charset=utf-8", "inline"),
        ("pdf", "application/pdf", "inline"),
        ("csv", "text/csv; charset=utf-8", "attachment"),
        ("parquet", "application/vnd.apache.parquet", "attachment"),
    ],
)
def test_each_file_comes_whole_with_its_type_and_name(customer, report, name: str, media_type: str, how: str):
    response = customer.get(f"/v1/reports/{report.id}/files/{name}")
    assert (response.status_code, response.content) == (200, FILES[name])
    assert response.headers["content-type"] == media_type
    assert response.headers["content-length"] == str(len(FILES[name]))
    assert response.headers["content-disposition"].startswith(how)
    assert response.headers["content-disposition"].endswith(f".{name}")


def test_the_page_of_a_report_may_run_and_fetch_nothing(customer, path):
    policy = customer.get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script" not in policy


def test_the_address_that_the_report_names_is_the_one_to_download_from(customer, report):
    addresses = customer.get(f"/v1/reports/{report.id}").json()["files"]
    assert {name: customer.get(address).content for name, address in addresses.items()} == FILES


def test_another_organisations_report_is_not_found(stranger, report, path):
    for address in [path, f"/v1/reports/{report.id}"]:
        assert stranger.get(address).status_code == 404
    assert stranger.head(path).status_code == 404


def test_an_unknown_format_is_told_with_the_known_ones(customer, report):
    response = customer.get(f"/v1/reports/{report.id}/files/docx")
    assert response.status_code == 404
    assert "csv, html, parquet, pdf" in response.json()["detail"]


def test_what_was_fetched_before_is_not_sent_again(customer, path):
    etag = customer.get(path).headers["etag"]
    for value in [etag, f"W/{etag}", f'"other", {etag}', "*"]:
        response = customer.get(path, headers={"If-None-Match": value})
        assert (response.status_code, response.content) == (304, b""), value
        assert response.headers["etag"] == etag
    assert customer.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_head_gives_the_length_and_no_body_and_ignores_ranges(customer, path):
    response = customer.head(path, headers={"Range": "bytes=0-9"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(HTML))
    assert response.headers["accept-ranges"] == "bytes"


def test_a_range_gives_just_those_bytes(customer, path):
    ranges = {
        "bytes=0-9": (0, 10),
        "bytes=100-": (100, len(HTML)),
        "bytes=-7": (len(HTML) - 7, len(HTML)),
        "bytes=5-5": (5, 6),
        "bytes=10-999999": (10, len(HTML)),
        "bytes=-999999": (0, len(HTML)),
    }
    for asked, (first, end) in ranges.items():
        response = customer.get(path, headers={"Range": asked})
        assert (response.status_code, response.content) == (206, HTML[first:end]), asked
        assert response.headers["content-range"] == f"bytes {first}-{end - 1}/{len(HTML)}"
        assert response.headers["content-length"] == str(end - first)


def test_a_range_that_cannot_be_understood_gives_the_whole(customer, path):
    for asked in ["lines=1-2", "bytes=9-1", "bytes=-", "bytes=a-b", "bytes=0-1,5-6", "nonsense"]:
        response = customer.get(path, headers={"Range": asked})
        assert (response.status_code, response.content) == (200, HTML), asked


def test_a_range_beyond_the_end_is_not_satisfiable(customer, path):
    for asked in [f"bytes={len(HTML)}-", "bytes=999999-", "bytes=-0"]:
        response = customer.get(path, headers={"Range": asked})
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{len(HTML)}"), asked


def test_if_range_of_another_version_gives_the_whole(customer, path):
    etag = customer.get(path).headers["etag"]
    same = customer.get(path, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = customer.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


def test_a_file_that_is_gone_from_the_store_is_told_and_not_half_sent(customer, runtime: Runtime, report):
    runtime.objects.delete(report.files["pdf"])
    response = customer.get(f"/v1/reports/{report.id}/files/pdf")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert str(report.organisation_id) not in response.text
