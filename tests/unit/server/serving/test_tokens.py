"""Which events carry tokens and how many were counted, for each endpoint's kind of stream."""

import pytest

from veneer_server.engine.base import Endpoint
from veneer_server.serving.tokens import Usage, token_test, usage_of_frame, with_usage

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"ahoy"}}]}\n\n'
QUOTED = b'data: {"choices":[{"index":0,"delta":{"content":"\\"role\\": \\"usage\\":{"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
CALL = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"text":"ahoy"}]}\n\n'
CREATED = b'event: response.created\ndata: {"type":"response.created"}\n\n'
DELTA = b'event: response.output_text.delta\ndata: {"delta":"ahoy"}\n\n'
COUNTS = b'"usage":{"input_tokens":7,"output_tokens":'
COMPLETED = b'event: response.completed\ndata: {"response":{' + COUNTS + b"5}}}\n\n"
START = b'event: message_start\ndata: {"message":{' + COUNTS + b"0}}}\n\n"
BLOCK = b'event: content_block_delta\ndata: {"delta":{"text":"ahoy"}}\n\n'
STOP = b'event: message_delta\ndata: {"usage":{"output_tokens":5}}\n\n'

CASES = [
    (Endpoint.CHAT, ROLE, False),
    (Endpoint.CHAT, WORD, True),
    (Endpoint.CHAT, QUOTED, True),
    (Endpoint.CHAT, CALL, True),
    (Endpoint.CHAT, USAGE, False),
    (Endpoint.CHAT, DONE, False),
    (Endpoint.COMPLETIONS, TEXT, True),
    (Endpoint.COMPLETIONS, USAGE, False),
    (Endpoint.RESPONSES, CREATED, False),
    (Endpoint.RESPONSES, DELTA, True),
    (Endpoint.RESPONSES, COMPLETED, False),
    (Endpoint.MESSAGES, START, False),
    (Endpoint.MESSAGES, BLOCK, True),
    (Endpoint.MESSAGES, STOP, False),
]


@pytest.mark.parametrize(("endpoint", "frame", "carries"), CASES)
def test_which_events_carry_tokens(endpoint: Endpoint, frame: bytes, carries: bool) -> None:
    assert token_test(endpoint)(frame) is carries


CACHED = b'event: message_delta\ndata: {"usage":{"input_tokens":3,"output_tokens":5,'
CACHED += b'"cache_read_input_tokens":16,"cache_creation_input_tokens":null}}\n\n'
USAGES = [(USAGE, (7, 5)), (COMPLETED, (7, 5)), (START, (7, 0)), (STOP, (0, 5)), (QUOTED, None)]
DETAILS = b'data: {"usage":{"prompt_tokens":20,"completion_tokens":5,'
DETAILS += b'"prompt_tokens_details":{"cached_tokens":16}}}\n\n'
USAGES += [(CACHED, (19, 5, 16)), (DETAILS, (20, 5, 16))]


@pytest.mark.parametrize(("frame", "usage"), USAGES)
def test_what_an_event_says_about_usage(frame: bytes, usage: tuple[int, ...] | None) -> None:
    assert usage_of_frame(frame) == (usage and Usage(*usage))


ASKED = [
    ("hidden when not asked for", {"stream": True}, True),
    ("shown when asked for", {"stream": True, "stream_options": {"include_usage": True}}, False),
    ("a document has it anyway", {}, False),
]


@pytest.mark.parametrize(("body", "hidden"), [c[1:] for c in ASKED], ids=[c[0] for c in ASKED])
def test_usage_is_always_asked_of_the_engine(body: dict[str, object], hidden: bool) -> None:
    asking, hides = with_usage(Endpoint.CHAT, body)
    assert hides is hidden
    if body:
        assert asking["stream_options"] == {"include_usage": True}
