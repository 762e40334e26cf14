"""A schema is kept, or refused with the name of the keyword that would not be."""

import json
from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.base import RequestRejected

pytestmark = pytest.mark.engine

constraining = need("support.constraining")
CORPUS: list[dict[str, Any]] = constraining.CORPUS


@pytest.fixture(scope="module")
def constraints() -> Any:
    return constraining.Constraints()


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
async def test_a_schema_is_kept_or_refused_by_name(constraints: Any, case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(RequestRejected, match="'" + case["refused"].replace("$", r"\$") + "'"):
            await constraints.admit(json=case["schema"])
        return
    admitted = await constraints.admit(json=case["schema"])
    for answer in case["keeps"]:
        assert constraints.takes(admitted, json.dumps(answer, ensure_ascii=False)), answer
    for answer in case["breaks"]:
        assert not constraints.takes(admitted, json.dumps(answer, ensure_ascii=False)), answer


def test_the_corpus_has_every_kind_more_than_once() -> None:
    assert len(CORPUS) >= 100
    assert sum("refused" in case for case in CORPUS) < len(CORPUS) / 3
