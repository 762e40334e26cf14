"""A document has the calls and the text that its stream would have had, wherever it is cut off."""

import logging
from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.vllm import embedded

pytestmark = pytest.mark.engine

whole_module = need("veneer_server.engine.vllm.dialect.whole")
wire = need("vllm.entrypoints.generate.base.protocol")
chat = need("vllm.entrypoints.openai.chat_completion.protocol")
parsers = need("vllm.parser")

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "f"}}
TEXTS: dict[str, tuple[Any, str]] = {
    "calls in tags": (
        "auto",
        'Sure. <tool_call>\n{"name": "f", "arguments": {"city":"Oslo", "n": [1, 2]}}\n'
        "</tool_call>\n"
        '<tool_call>\n{"name":"f","arguments":{}}</tool_call> Bye.',
    ),
    "a list of calls": (
        "required",
        '[{"name": "f", "parameters": {"city":"Oslo"}}, '
        '{"name":"f","parameters":{"city": "Graz"}}]',
    ),
    "the arguments of a call": (NAMED, '{"city": "Oslo"}'),
    "no call": ("auto", "A < b, and b <tool of choice> is fine."),
    "calls that are not asked for": ("none", '<tool_call>\n{"name": "f"}\n</tool_call>'),
}

Said = tuple[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(embedded.ensure_checkpoint()))


@pytest.fixture(scope="module")
def parser(tokenizer: Any) -> Any:
    found = parsers.ParserManager.get_parser(
        tool_parser_name="hermes",
        reasoning_parser_name="",
        enable_auto_tools=True,
        tokenizer=tokenizer,
    )
    return whole_module.as_streamed(found)


def request(choice: Any) -> Any:
    messages = [{"role": "user", "content": "x"}]
    return chat.ChatCompletionRequest(
        model="m", messages=messages, tools=[TOOL], tool_choice=choice
    )


def whole(parser: Any, text: str, ids: list[int], asked: Any) -> Said:
    _, content, calls = parser.parse(
        text, asked, enable_auto_tools=True, model_output_token_ids=ids
    )
    return content or "", [(call.name, call.arguments) for call in calls or ()]


def streamed(parser: Any, tokenizer: Any, ids: list[int], asked: Any) -> Said:
    content, before = "", ""
    calls: dict[int, tuple[str, str]] = {}
    for place in range(len(ids)):
        now = tokenizer.decode(ids[: place + 1])
        told = parser.parse_delta(
            now.removeprefix(before),
            [ids[place]],
            asked,
            prompt_token_ids=[1],
            finished=place == len(ids) - 1,
        )
        before = now
        content += (told.content if told else None) or ""
        for part in told.tool_calls if told else ():
            name, arguments = calls.get(part.index, ("", ""))
            assert part.function is not None
            calls[part.index] = (
                name + (part.function.name or ""),
                arguments + (part.function.arguments or ""),
            )
    return content, list(calls.values())


@pytest.mark.parametrize("kind", TEXTS)
def test_wherever_an_answer_is_cut_off_document_and_stream_say_the_same(
    parser: Any, tokenizer: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    choice, text = TEXTS[kind]
    asked = request(choice)
    ids = tokenizer.encode(text, add_special_tokens=False)
    for cut in range(1, len(ids) + 1):
        fresh = [parser(tokenizer, asked.tools) for _ in range(2)]
        found = whole(fresh[0], tokenizer.decode(ids[:cut]), ids[:cut], asked)
        assert found == streamed(fresh[1], tokenizer, ids[:cut], asked), f"cut after {cut} tokens"
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_the_text_of_a_cut_call_is_not_shown(parser: Any, tokenizer: Any) -> None:
    text = 'Sure. <tool_call>\n{"name": "f", "arguments": {"city":"Os'
    found = whole(parser(tokenizer, [TOOL]), text, tokenizer.encode(text), request("auto"))
    assert found == ("Sure. ", [("f", '{"city":"Os')])


@pytest.mark.parametrize("name", ["hermes", "phi4_mini_json", "pythonic", "granite", "xlam"])
def test_a_plain_answer_keeps_its_text_with_every_parser(name: str, tokenizer: Any) -> None:
    found = parsers.ParserManager.get_parser(
        tool_parser_name=name,
        reasoning_parser_name="",
        enable_auto_tools=True,
        tokenizer=tokenizer,
    )
    parser = whole_module.as_streamed(found)(tokenizer, [TOOL])
    text = "Hello there, f."
    assert whole(parser, text, tokenizer.encode(text), request("auto")) == (text, [])


def told(*calls: tuple[str, str]) -> Any:
    parts = [
        wire.DeltaToolCall(index=i, function=wire.DeltaFunctionCall(name=name, arguments=arguments))
        for i, (name, arguments) in enumerate(calls)
    ]
    return wire.DeltaMessage(tool_calls=parts)


def letters(calls: Any) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in calls or ()]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([("f", '{"a":1}')], '{"a":1}'),  # the same in the model's own letters
        ([("f", '{"a":2}')], '{"a": 1}'),  # a stream's reader that understood less
        ([("f", "")], '{"a": 1}'),
        ([("g", '{"a":1}')], '{"a": 1}'),
        ([], '{"a": 1}'),
    ],
)
def test_complete_calls_hold_whatever_a_stream_would_say(
    stream: list[tuple[str, str]], expected: str
) -> None:
    complete = [wire.FunctionCall(name="f", arguments='{"a": 1}')]
    found, rest = whole_module.choose(complete, "text", told(*stream))
    assert letters(found) == [("f", expected)]
    assert rest == "text"
