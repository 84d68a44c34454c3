"""A question to a person: the run is suspended until the form that Resume opens on its page is filled in.

A suspended run takes no place in a worker and outlives it: when it is resumed, whichever worker there is begins it anew
and finds the answer with the run. Each question has a number, so an answer that cannot be taken is asked for again.
"""

from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, Pause
from prefect.input import RunInput, keyset_from_paused_state
from prefect.states import Suspended
from prefect.utilities.engine import propose_state
from pydantic import ValidationError

from fleet.errors import complaints

Answer = TypeVar("Answer", bound=RunInput)
PREFIX = "suspended-"  # Prefect's own first word for what belongs to a suspended run
READ_MAX = 200


async def answer_to(question: str, form: type[Answer], *, run_id: UUID, wait: timedelta) -> Answer:
    """What a person answered to `question`; without an answer the run is suspended and this does not return.

    Raises:
        Pause: the run is suspended; it begins anew when somebody answers.
        Abort: it may not be suspended, for instance because it is being cancelled.
    """
    async with get_client() as client:
        found = await client.filter_flow_run_input(
            flow_run_id=run_id, key_prefix=PREFIX, limit=READ_MAX, exclude_keys=set()
        )
        values = {row.key: row.decoded_value for row in found}
        asked = sum(key.endswith("-schema") for key in values)
        if (given := values.get(f"{PREFIX}{asked}-response")) is not None:
            try:
                return form.model_validate(given)
            except ValidationError as error:
                question = f"**That could not be taken: {'; '.join(complaints(error))}**\n\n{question}"
        await _ask(client, question, form, run_id=run_id, number=asked + 1, wait=wait)
    raise AssertionError


async def _ask(
    client: PrefectClient, question: str, form: type[RunInput], *, run_id: UUID, number: int, wait: timedelta
) -> None:
    seconds = int(wait.total_seconds())
    state: State[Any] = Suspended(
        pause_key=str(number), timeout_seconds=seconds, message="Waits for an answer: press Resume."
    )
    keys = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = {str(part): key for part, key in keys.items()}
    # The form first: a run that waits for an answer without one could never be resumed.
    await form.with_initial_data(description=question).asave(keys, run_id)
    taken = await propose_state(client, state, flow_run_id=run_id)
    if not taken.is_paused():
        raise Abort(f"The run cannot wait for an answer: it is {taken.name}.")
    raise Pause(state=taken)
