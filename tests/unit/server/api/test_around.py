"""An event that is like one before is converted as if it were the first."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.api.official.answers.around import Around
from veneer_server.api.official.answers.chat import chunks

ODD = ['"', "\\", '\\"', "\n", "\x00", "é😀", "pub", '"},"finish_reason":"stop', "}]}"]
TEXTS = st.one_of(st.sampled_from(["a", "", *ODD]), st.text(max_size=4))
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"content": text, "reasoning": "r"}, TEXTS),
    st.just({"role": "assistant", "content": ""}),
    st.just({}),
)
MORE = st.sampled_from(
    [
        {"logprobs": None, "finish_reason": None},
        {"logprobs": None, "finish_reason": "stop", "stop_reason": None},
        {"logprobs": {"content": []}, "finish_reason": None, "token_ids": None},
    ]
)
ENDS = st.sampled_from([{}, {"usage": None}, {"usage": {"prompt_tokens": 1, "x": None}}])


def chat(delta: dict[str, Any], more: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, **more}]
    return {"id": "c", "object": "chat.completion.chunk", "model": "x", "choices": choices, **end}


def completion(text: str, more: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    choices = [{"index": 0, "text": text, **more}]
    return {"id": "c", "object": "text_completion", "model": "x", "choices": choices, **end}


CHATS = st.builds(chat, DELTAS, MORE, ENDS)
COMPLETIONS = st.builds(completion, TEXTS, MORE, ENDS)


@pytest.mark.parametrize("usage", [False, True])
@given(events=st.one_of(st.lists(CHATS, max_size=8), st.lists(COMPLETIONS, max_size=8)))
def test_it_does_not_matter_what_was_converted_before(
    events: list[dict[str, Any]], usage: bool
) -> None:
    asked = {"stream_options": {"include_usage": usage}}
    remembering = chunks("pub", asked)
    for event in events:
        raw = b"data: " + orjson.dumps(event) + b"\n\n"
        assert remembering(raw) == chunks("pub", asked)(raw)


def test_the_second_event_with_another_text_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"logprobs": None, "finish_reason": None}
    first, second = (orjson.dumps(chat({"content": text}, plain, {})) for text in ("a", "b"))
    convert = chunks("pub", {})
    convert(b"data: " + first + b"\n\n")
    monkeypatch.setattr(orjson, "loads", None)
    assert b'"content":"b"' in convert(b"data: " + second + b"\n\n")


def test_a_text_that_may_end_early_is_not_taken_for_one() -> None:
    around = Around(b"<", b">", b"(", b")")
    assert around.converted(b'<"a">') == b'("a")'
    for raw in (b'<"a","b":"c">', b"<>", b'<">', b'x"a">', b'<"a"'):
        assert around.converted(raw) is None
