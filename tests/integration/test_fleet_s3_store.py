"""The object store on S3, where what holds by itself on a disk must be kept by care: half files, old listings, outages."""

import json
import uuid
from collections.abc import Iterator

import boto3
import pytest

from fleet.errors import NotFound, Unavailable
from fleet.objectstore import ObjectStore

PART_BYTES = 50 * 1024 * 1024  # s3fs sends a part as soon as it has this much
CREDENTIALS = {"key": "k", "secret": "s"}


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str) -> Iterator[object]:
    """A bucket as another process sees it, with nothing of ours between."""
    from botocore.config import Config

    client = boto3.resource(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}),
    )
    made = client.create_bucket(Bucket=f"yard-{uuid.uuid4().hex}")
    yield made
    client.meta.client.close()


@pytest.fixture
def objects(s3_url: str, bucket) -> ObjectStore:
    options = CREDENTIALS | {"client_kwargs": {"endpoint_url": s3_url}}
    return ObjectStore(f"s3://{bucket.name}/root", signing_key=b"k" * 32, options=options)


@pytest.fixture
def unreachable(tmp_path) -> ObjectStore:
    options = CREDENTIALS | {
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"},
        "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
    }
    return ObjectStore("s3://nowhere/root", signing_key=b"k" * 32, options=options)


def _keys(bucket) -> list[str]:
    return [found.key for found in bucket.objects.all()]


def test_a_writer_that_fails_leaves_no_file(objects: ObjectStore, bucket):
    with pytest.raises(LookupError), objects.create("org/a") as out:
        out.write(b"half")
        raise LookupError
    assert _keys(bucket) == []


def test_a_writer_that_fails_before_its_first_byte_leaves_no_file(objects: ObjectStore, bucket):
    with pytest.raises(LookupError), objects.create("org/a"):
        raise LookupError
    assert _keys(bucket) == []


def test_a_writer_that_fails_after_its_first_part_leaves_neither_a_file_nor_parts(objects: ObjectStore, bucket):
    with pytest.raises(LookupError), objects.create("org/a") as out:
        out.write(bytes(PART_BYTES + 1))
        raise LookupError
    assert _keys(bucket) == []
    assert list(bucket.multipart_uploads.all()) == []


def test_a_writer_that_fails_leaves_what_was_there_before(objects: ObjectStore):
    objects.put("org/a", b"whole")
    with pytest.raises(LookupError), objects.create("org/a") as out:
        out.write(b"half")
        raise LookupError
    assert objects.read("org/a") == b"whole"


def test_an_empty_file_is_a_file(objects: ObjectStore):
    objects.put("org/empty", b"")
    assert (objects.exists("org/empty"), objects.size("org/empty"), objects.read("org/empty")) == (True, 0, b"")


def test_what_another_process_writes_is_seen_although_it_was_looked_for_before(objects: ObjectStore, bucket):
    objects.put("org/manifests/1.json", b"{}")
    assert objects.list("org/manifests") == ["org/manifests/1.json"]
    assert not objects.exists("org/manifests/2.json")
    bucket.put_object(Key="root/org/manifests/2.json", Body=b"{}")
    assert objects.exists("org/manifests/2.json")
    assert objects.list("org/manifests") == ["org/manifests/1.json", "org/manifests/2.json"]


def test_what_another_process_removes_is_gone(objects: ObjectStore, bucket):
    objects.put("org/a", b"1")
    assert objects.list("org") == ["org/a"]
    bucket.Object("root/org/a").delete()
    assert objects.list("org") == []
    with pytest.raises(NotFound):
        objects.read("org/a")


def test_what_another_process_replaces_is_read_in_its_new_size(objects: ObjectStore, bucket):
    objects.put("org/manifest.json", json.dumps({"a": 1}).encode())
    objects.list("org")
    bucket.put_object(Key="root/org/manifest.json", Body=json.dumps({"a": 1, "b": [1, 2, 3]}).encode())
    assert objects.manifest("org/manifest.json") == {"a": 1, "b": [1, 2, 3]}


def test_another_organisations_prefix_that_begins_alike_is_not_listed(objects: ObjectStore):
    objects.put("org-1/a", b"1")
    objects.put("org-12/b", b"2")
    assert objects.list("org-1") == ["org-1/a"]


def test_a_key_with_the_signs_of_a_partition_comes_back_as_it_was_put(objects: ObjectStore):
    key = "org/lake/robot=amr 1/topic=%2Fimu/part-ü.parquet"
    objects.put(key, b"rows")
    assert objects.list("org/lake") == [key]
    assert objects.read(key) == b"rows"


def test_a_store_that_does_not_answer_is_unavailable_and_says_what_to_check(unreachable: ObjectStore):
    with pytest.raises(Unavailable, match=r"could not write 'org/a'.*check its settings"):
        unreachable.put("org/a", b"1")


@pytest.mark.parametrize("ask", ["read", "size", "exists", "list", "delete"])
def test_a_store_that_does_not_answer_a_reader_is_unavailable(unreachable: ObjectStore, ask: str):
    with pytest.raises(Unavailable, match="org/a"):
        getattr(unreachable, ask)("org/a")


def test_a_bucket_that_is_not_there_is_named_by_its_key_and_not_taken_for_an_empty_file(s3_url: str):
    options = CREDENTIALS | {"client_kwargs": {"endpoint_url": s3_url}}
    store = ObjectStore("s3://no-such-bucket/root", signing_key=b"k" * 32, options=options)
    with pytest.raises(Unavailable, match="org/a"):
        store.put("org/a", b"1")
    with pytest.raises(NotFound, match="org/a"):
        store.read("org/a")
