"""Checks what an answer must fit before the engine gets it, beside the event loop.

vLLM would do it on the loop, and only half of it: the engine would find out the rest. The engine
uses the same backend, so what is admitted here is followed there.
"""

import asyncio
import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cached_property, lru_cache
from typing import Any

import llguidance
from vllm.config import VllmConfig
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.structured_output import backend_guidance
from vllm.v1.structured_output.backend_types import StructuredOutputOptions
from vllm.v1.structured_output.request import get_structured_output_key

from veneer_server.engine.base import RequestRejected, SchemaTooComplex
from veneer_server.engine.vllm.constraints.reasons import to_rejection
from veneer_server.engine.vllm.constraints.schemas import check_schema, on_one_line
from veneer_server.engine.vllm.constraints.tags import to_grammar

BACKEND = "guidance"
"""The one backend: it keeps a schema or refuses it by name (ADR 0019)."""
MOST_SECONDS = 3.0
MOST_CHARS = 256 * 1024
_AT_ONCE = 2
_REMEMBERED = 64

_admitted: ContextVar[StructuredOutputsParams | None] = ContextVar("admitted", default=None)
_vllms_check = backend_guidance.validate_guidance_grammar


def _check_unless_admitted(params: Any, tokenizer: Any = None) -> None:
    if params.structured_outputs is not _admitted.get():
        _vllms_check(params, tokenizer)


class Admission:
    """Admits constraints for one engine."""

    def __init__(self, config: VllmConfig, tokenizer: Any) -> None:
        self._is_ours = config.structured_outputs_config.backend == BACKEND
        self._model = config.model_config
        self._tokenizer = tokenizer
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="constraints")
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._verdict = lru_cache(_REMEMBERED)(self._judge)
        if self._is_ours:
            backend_guidance.validate_guidance_grammar = _check_unless_admitted

    @cached_property
    def _known(self) -> Any:
        """llguidance's form of the tokenizer, as the engine uses it; making it takes 0.3 s."""
        vocabulary = self._model.get_vocab_size()
        return backend_guidance.GuidanceBackend._build_ll_tokenizer(self._tokenizer, vocabulary)

    def warm_up(self) -> None:
        """Prepare what every check needs and the simplest one; blocks, on a busy machine long.

        Afterwards the request with which an engine starts is not refused for slowness.
        """
        if self._is_ours:
            self._check(StructuredOutputsParams(json_object=True))

    async def admit(self, params: Any) -> None:
        """Return if the engine can follow what ``params`` ask for; may write it in another form.

        Raises:
            RequestRejected: it cannot; the message says what is wrong.
        """
        asked = getattr(params, "structured_outputs", None)
        if asked is None or not self._is_ours:
            return
        async with self._free:
            params.structured_outputs = await self._in_time(asked)
        _admitted.set(params.structured_outputs)

    async def _in_time(self, asked: StructuredOutputsParams) -> StructuredOutputsParams:
        loop = asyncio.get_running_loop()
        checked = loop.run_in_executor(self._threads, self._check, asked)
        try:
            return await asyncio.wait_for(checked, MOST_SECONDS)
        except TimeoutError:
            raise SchemaTooComplex(
                f"What the answer must fit takes more than {MOST_SECONDS:g} s to prepare."
                " Make it smaller or simpler."
            ) from None

    def _check(self, asked: StructuredOutputsParams) -> StructuredOutputsParams:
        try:
            asked = self._written(asked)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            # A schema or a tag may come as a text, in which nobody has looked yet.
            raise RequestRejected(
                "What the answer must fit is malformed: it is no JSON schema, or no structural tag."
            ) from None
        rejection = self._verdict(*get_structured_output_key(asked))
        if rejection is not None:
            raise type(rejection)(str(rejection))  # each request has an error of its own
        return asked

    def _written(self, asked: StructuredOutputsParams) -> StructuredOutputsParams:
        """Return what ``asked`` says in the form in which the engine can follow it."""
        kind, spec = get_structured_output_key(asked)
        _check_size(spec)
        if kind is StructuredOutputOptions.STRUCTURAL_TAG:
            asked = self._without_tags(json.loads(spec), asked)
        elif kind is StructuredOutputOptions.JSON:
            check_schema(schema := json.loads(spec))
            asked = StructuredOutputsParams(json=on_one_line(schema))
        elif kind is StructuredOutputOptions.JSON_OBJECT:
            asked = StructuredOutputsParams(json=on_one_line({"type": "object"}))
        return asked

    def _without_tags(
        self, tag: dict[str, Any], asked: StructuredOutputsParams
    ) -> StructuredOutputsParams:
        if "format" not in tag:
            for part in tag["structures"]:
                check_schema(part["schema"])
            return asked  # the older form, which vLLM itself writes as a grammar
        return StructuredOutputsParams(grammar=to_grammar(tag, self._special_texts()))

    def _special_texts(self) -> Collection[str]:
        added = self._tokenizer.get_added_vocab()
        return [text for text, token in added.items() if self._known.is_special_token(token)]

    def _judge(self, kind: StructuredOutputOptions, spec: str) -> RequestRejected | None:
        try:
            grammar = backend_guidance.serialize_guidance_grammar(kind, spec)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return to_rejection(str(error), is_schema=kind is StructuredOutputOptions.JSON)
        matcher = llguidance.LLMatcher(self._known, grammar, log_level=0)
        if not matcher.is_error():
            return None
        is_schema = kind is StructuredOutputOptions.JSON or "%json" in spec
        return to_rejection(matcher.get_error(), is_schema=is_schema)


def _check_size(spec: str) -> None:
    if len(spec) > MOST_CHARS:
        raise SchemaTooComplex(
            f"What the answer must fit is {len(spec)} characters long; at most {MOST_CHARS} are"
            " supported."
        )
