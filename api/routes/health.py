"""Whether the process lives, and whether it can do its work; needs no token."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.deps import Parts
from api.problems import described
from fleet.errors import Unavailable
from fleet.group_commit import GroupCommit

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """All is well; otherwise the answer is a problem."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
def is_alive() -> Health:
    """The process lives."""
    return Health()


@router.get("/readyz", responses=described(503))
def is_ready(runtime: Parts, request: Request) -> Health:
    """The database answers, has our tables, and deliveries and missions can be stored."""
    writers = {"inbox": request.app.state.group_commit, "missions": request.app.state.missions}
    try:
        with runtime.reading() as session:
            session.execute(text("SELECT 1 FROM deliveries LIMIT 1"))
    except SQLAlchemyError as error:
        raise Unavailable("The database does not answer or has no tables; run `yardmaster db migrate`.") from error
    for what, writer in writers.items():
        assert isinstance(writer, GroupCommit)
        if not writer.is_alive:
            raise Unavailable(f"The writer of the {what} has stopped; restart this process.")
    return Health()
