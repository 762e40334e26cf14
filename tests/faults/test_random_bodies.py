"""H9: whatever a client sends, the answer is no fault of the server's, and the engine lives."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import tiny
from support.asked import need
from support.serving import Served, start_process

need("vllm")

from support.fuzzing import routes  # noqa: E402 - it imports vLLM
from support.fuzzing.bodies import Bodies, written  # noqa: E402
from support.fuzzing.verdicts import fault_of  # noqa: E402

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

FEW, MANY = 15, 500
"""Random requests of one route, by make test and by make faults."""
BUDGETS = [FEW, pytest.param(MANY, marks=pytest.mark.matrix)]
ANSWER_S = 60
"""A request that takes longer is held up by something."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real server on the two-layer model with two adapters, which must live to the end."""
    folder = tmp_path_factory.mktemp("random")
    model = tiny.model(folder / routes.BASE)
    for seed, name in enumerate(routes.ADAPTERS):
        tiny.adapter(folder / "my-adapters" / name, seed=seed)
    environ = {
        "VENEER_MODEL__PATH": str(model),
        "VENEER_MODEL__MAX_LEN": "1024",
        "VENEER_ADAPTERS__DEVICE_SLOTS": "4",
        "VENEER_ADAPTERS__HOST_SLOTS": "8",
    }
    with start_process(folder, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def conversation(served: Served) -> str:
    """The id of a conversation that is there."""
    made = httpx.post(f"{served.url}{routes.CONVERSATIONS}", json={}).json()
    return str(made["id"])


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """A client of the server; after the test the engine must be the one that was there before."""
    with httpx.Client(base_url=served.url, timeout=ANSWER_S) as asking:
        yield asking
        assert asking.get("/readyz").status_code == 200
        restarts = [line for line in asking.get("/metrics").text.splitlines() if _counts(line)]
        assert not restarts


def _counts(line: str) -> bool:
    name, _, number = line.rpartition(" ")
    return name.startswith("veneer_engine_restarts_total") and float(number) > 0


def budget(examples: int) -> settings:
    return settings(
        max_examples=examples,
        # The same every time where it must be short; where it may be long, new ones every time.
        derandomize=examples == FEW,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@cache
def bodies_of(document: str) -> Bodies:
    return Bodies(routes.DOCUMENTS[document]())


@pytest.mark.parametrize("examples", BUDGETS)
@pytest.mark.parametrize(("document", "path"), routes.PATHS)
def test_h9_a_random_body_is_answered_or_refused_as_the_clients_fault(
    client: httpx.Client, conversation: str, document: str, path: str, examples: int
) -> None:
    where = path.format(conversation_id=conversation)
    bodies, method = bodies_of(document), routes.METHODS.get(path, "POST")
    near = bodies.nearly(path, routes.WORKS[path])
    some = written(path, st.one_of(near, near, bodies.whole(path)), routes.MODELS)

    @budget(examples)
    @given(raw=some)
    def ask(raw: bytes) -> None:
        kind = {"content-type": "application/json"}
        response = client.request(method, where, content=raw, headers=kind)
        fault = fault_of(path, raw, response)
        assert fault is None, f"{method} {path} with {raw[:2000]!r}: {fault}"

    ask()


@pytest.mark.parametrize("examples", BUDGETS)
@pytest.mark.parametrize(("method", "pattern"), routes.NAMED)
def test_h9_a_random_name_query_or_header_is_answered_or_refused_as_the_clients_fault(
    client: httpx.Client, method: str, pattern: str, examples: int
) -> None:
    @budget(examples)
    @given(
        path=routes.named(pattern),
        query=st.dictionaries(routes.QUERIES, routes.SAID, max_size=2),
        headers=st.dictionaries(routes.HEADERS, routes.HEADER_VALUES, max_size=2),
    )
    def ask(path: str, query: dict[str, Any], headers: dict[str, bytes]) -> None:
        response = client.request(method, path, params=query, headers=headers)
        fault = fault_of(path, b"{}", response)
        assert fault is None, f"{method} {path} with {query} and {headers}: {fault}"

    ask()
