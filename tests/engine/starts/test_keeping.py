"""What an engine leaves in the memory of the process that outlives it."""

import copy
import gc
import inspect
import weakref
from pathlib import Path
from typing import Any

import pytest

from support import tiny
from support.asked import need

pytestmark = pytest.mark.engine

keeping = need("veneer_server.engine.vllm.keeping")


def test_no_tokenizer_of_an_engine_stays_after_it_is_forgotten(tmp_path: Path) -> None:
    from vllm.renderers.hf import resolve_chat_template_kwargs
    from vllm.tokenizers import maybe_make_thread_pool
    from vllm.tokenizers.registry import cached_get_tokenizer

    def used() -> list[weakref.ref[object]]:
        tokenizer = cached_get_tokenizer(str(tiny.model(tmp_path / "tiny")))
        pool = maybe_make_thread_pool(copy.copy(tokenizer), copies=2)
        resolve_chat_template_kwargs(pool, "{{ messages }}", {"add_generation_prompt": True})
        return [weakref.ref(tokenizer), weakref.ref(pool), *map(weakref.ref, copies_in(pool))]

    refs = used()
    assert len(refs) == 4
    gc.collect()
    assert [ref() for ref in refs] != [None] * 4
    keeping.forget_tokenizers()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4


def copies_in(pool: Any) -> list[object]:
    """Return the tokenizers to which ``pool`` hands calls on."""
    borrow = inspect.getclosurevars(type(pool).decode).nonlocals["_borrow_from_pool"]
    tokenizers = inspect.getclosurevars(borrow.__wrapped__).nonlocals["tokenizer_pool"]
    return list(tokenizers.queue)
