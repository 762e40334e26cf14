"""How a client's body is checked and changed before an engine gets it. Pure functions.

Rule 1: a table says of every member what becomes of it (``members``): the engine gets it, it is
translated, it changes no answer here and is dropped, or it is refused.
Rule 2: a member that no table knows is refused, because the engine would ignore it in silence.
Rule 3: what OpenAI takes and vLLM does not is written as vLLM takes it (``translating``).
vLLM checks everything else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.blocks import refuse_unreadable
from veneer_server.api.official.checking import check_bounds
from veneer_server.api.official.formats import require_roles, require_schema
from veneer_server.api.official.members.tables import TABLES, as_written, decided
from veneer_server.api.official.tools import hold_schema, without_empty_tools
from veneer_server.api.official.translating.choices import only_allowed
from veneer_server.api.official.translating.sampling import as_vllm_takes_it
from veneer_server.api.official.translating.texts import joined
from veneer_server.engine.base import Endpoint, RequestRejected


def prepare(endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body for the engine, without members that are null or ignored.

    Raises:
        UnsupportedParameter: a member would have no effect, or only the server may set it.
        InvalidRequest: a member is out of its bounds, or contradicts another.
    """
    given = {k: v for k, v in body.items() if v is not None}
    with in_the_clients_words(endpoint, given):
        kept = decided(TABLES[endpoint], given)
        check_bounds(endpoint, {**given, **kept})
        refuse_unreadable(endpoint, kept)
        require_roles(endpoint, kept)
        require_schema(endpoint, kept)
        kept = only_allowed(without_empty_tools(kept))
        return as_vllm_takes_it(endpoint, joined(hold_schema(endpoint, kept)))


@contextmanager
def in_the_clients_words(endpoint: Endpoint, body: Mapping[str, Any]) -> Iterator[None]:
    """Let an error in the block name the member of ``body`` that the client wrote."""
    try:
        yield
    except (InvalidRequest, RequestRejected) as error:
        name_as_written(endpoint, body, error)
        raise


def name_as_written(endpoint: Endpoint, body: Mapping[str, Any], error: Exception) -> None:
    """Let ``error`` name the member of ``body`` that the client wrote, where it names another."""
    if not isinstance(error, InvalidRequest | RequestRejected):
        return
    written = as_written(TABLES[endpoint], body, error.param)
    if written != error.param:
        said = str(error).replace(f"'{error.param}'", f"'{written}'")
        error.args, error.param = (said,), written
