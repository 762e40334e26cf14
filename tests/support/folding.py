"""What a stream of each endpoint adds up to, in one form for streams and documents. Pure.

``chat``, ``completions``, ``responses`` and ``messages`` each take a document or the events of a
stream. What differs from one request to the next, such as ids, is left out. ``same`` compares two.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jiter

Said = dict[str, Any]
NOISE = 0.005
"""How far apart two log-probabilities of one token may lie, in fp32, in other company."""
_NEW_EVERY_TIME = ("id", "created", "created_at", "completed_at", "call_id", "sequence_number")


def same(one: Any, other: Any) -> bool:
    """Return whether both are equal but for the noise of numbers that are not whole."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=NOISE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def chat(found: Any) -> list[Said]:
    """Return one entry for each choice, and the usage at the end."""
    if isinstance(found, Mapping):
        said = [_chat_choice(choice) for choice in found["choices"]]
        return [*said, found["usage"]]
    choices: dict[int, Said] = {}
    usage = None
    for chunk in _documents(found):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            _add(choices.setdefault(choice["index"], _nothing()), choice)
    return [*(_tidy(choices[index]) for index in sorted(choices)), usage]


def _chat_choice(choice: Mapping[str, Any]) -> Said:
    said, message = _nothing(), choice["message"]
    calls = [{"index": i, **call} for i, call in enumerate(message.get("tool_calls") or ())]
    _add(said, {**choice, "delta": {"content": message["content"], "tool_calls": calls}})
    return _tidy(said)


def _nothing() -> Said:
    return {"content": "", "calls": {}, "logprobs": [], "finish_reason": None}


def _add(said: Said, choice: Mapping[str, Any]) -> None:
    delta = choice["delta"]
    said["content"] += delta.get("content") or ""
    said["finish_reason"] = choice.get("finish_reason") or said["finish_reason"]
    said["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
    for call in delta.get("tool_calls") or ():
        whole = said["calls"].setdefault(call["index"], {"name": "", "arguments": ""})
        for member in whole:
            whole[member] += call["function"].get(member) or ""


def _tidy(said: Said) -> Said:
    tokens = [(each["token"], each["logprob"]) for each in said["logprobs"]]
    return {**said, "calls": list(said["calls"].values()), "logprobs": tokens}


def completions(found: Any) -> list[Said]:
    """Return one entry for each choice, and the usage at the end."""
    chunks = [found] if isinstance(found, Mapping) else _documents(found)
    choices: dict[int, Said] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            said = choices.setdefault(choice["index"], {"text": "", "tokens": [], "end": None})
            said["text"] += choice["text"]
            said["tokens"] += (choice.get("logprobs") or {}).get("tokens") or []
            said["end"] = choice.get("finish_reason") or said["end"]
    return [*(choices[index] for index in sorted(choices)), usage]


def responses(found: Any) -> Said:
    """Return the response; of a stream the last event's, whose items the events must add up to."""
    if isinstance(found, Mapping):
        return _without_new(found)
    texts: dict[int, str] = {}
    for event in found:
        if event["type"].endswith(("output_text.delta", "function_call_arguments.delta")):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    response = found[-1]["response"]
    for index, item in enumerate(response["output"]):
        parts = "".join(part["text"] for part in item.get("content") or ())
        assert texts.get(index, "") == (item.get("arguments") or parts), found
    return _without_new(response)


def _without_new(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {k: _without_new(v) for k, v in found.items() if k not in _NEW_EVERY_TIME}
    if isinstance(found, list):
        return [_without_new(each) for each in found]
    return found


def messages(found: Any) -> Said:
    """Return the content, the reason to stop and the usage of output."""
    if isinstance(found, Mapping):
        blocks = _told(_block(block) for block in found["content"])
        return {"blocks": blocks, "stop": found["stop_reason"], "out": _out(found["usage"])}
    said: dict[int, Said] = {}
    stop, usage = None, None
    for event in found:
        if event["type"] == "content_block_start":
            said[event["index"]] = _block(event["content_block"])
            said[event["index"]]["input"] = ""
        elif event["type"] == "content_block_delta":
            block, delta = said[event["index"]], event["delta"]
            block["text"] += delta.get("text") or ""
            block["input"] += delta.get("partial_json") or ""
        elif event["type"] == "message_delta":
            stop, usage = event["delta"]["stop_reason"], _out(event["usage"])
    for block in said.values():
        text = block["input"].encode()
        block["input"] = jiter.from_json(text, partial_mode=True) if text else {}
    return {"blocks": _told(said[i] for i in sorted(said)), "stop": stop, "out": usage}


def _block(block: Mapping[str, Any]) -> Said:
    return {
        "type": block["type"],
        "text": block.get("text") or "",
        "name": block.get("name"),
        "input": block.get("input") or {},
    }


def _told(blocks: Iterable[Said]) -> list[Said]:
    """Return the blocks but for an empty text, which a document has in the place of no block."""
    return [block for block in blocks if block["type"] != "text" or block["text"]]


def _out(usage: Mapping[str, Any]) -> Any:
    return usage["output_tokens"]


def _documents(events: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [event for event in events if isinstance(event, Mapping)]
