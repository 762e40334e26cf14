"""The doctor, which reads the base's files, and the engine, which loaded them, agree."""

import pytest

from veneer_adapters.doctor.base_model import open_base
from veneer_server.engine.base import Engine
from veneer_server.engine.vllm import embedded

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
    pytest.mark.engine,
]


async def test_the_facts_of_the_files_are_those_of_the_engine(vllm_engine: Engine) -> None:
    served = vllm_engine.facts
    read = open_base(embedded.ensure_checkpoint()).facts(
        name=embedded.ROOT, max_rank=served.max_rank, dtype=served.dtype
    )
    assert served.modules
    assert dict(served.modules) == dict(read.modules)
    assert served == read
    assert served.fingerprint == read.fingerprint
    assert served.dtype == "float32"
