"""The API over the small world behind a real socket, and clients with the tokens of those who use it."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.serve import listen, server
from fleet.organisations import Organisation, Principal, PrincipalKind, issue_token
from fleet.runtime import Runtime


@pytest.fixture
def app(runtime: Runtime, world) -> FastAPI:
    """The application over the test's database."""
    return create_app(runtime)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """Where the application answers; its socket listens before its thread begins, so no call is too early."""
    listening = listen("127.0.0.1", 0)
    serving = server(app)
    thread = Thread(target=serving.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving.should_exit = True
    thread.join(10)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def connect(url: str) -> Iterator:
    """Makes a client with these headers; all are closed before the server ends."""
    with ExitStack() as stack:
        yield lambda headers=None: stack.enter_context(
            httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)
        )


@pytest.fixture
def anonymous(connect) -> httpx.Client:
    """Someone without a token."""
    return connect()


@pytest.fixture
def client_of(runtime: Runtime, world, connect):
    """Makes a client with the token of a principal of this kind, within the world's organisation or another."""

    def make(kind: str, organisation_id=None) -> httpx.Client:
        principal = Principal(PrincipalKind(kind), f"a-{kind}", organisation_id or world.organisation.id)
        with runtime.transaction() as session:
            token = issue_token(session, principal, now=runtime.clock.now())
        return connect({"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def operator(client_of) -> httpx.Client:
    """Someone who may do everything in the organisation."""
    return client_of("user")


@pytest.fixture
def customer(client_of) -> httpx.Client:
    """Someone who may look."""
    return client_of("customer")


@pytest.fixture
def device(client_of) -> httpx.Client:
    """A robot that uploads."""
    return client_of("device")


@pytest.fixture
def stranger(runtime: Runtime, client_of) -> httpx.Client:
    """Someone who may do everything in another organisation."""
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
    return client_of("user", other.id)
