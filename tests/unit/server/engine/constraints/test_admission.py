"""What an answer must fit is checked before the engine gets it, and never takes long."""

import json
from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.base import NotSupported, RequestRejected, SchemaTooComplex

pytestmark = pytest.mark.engine

constraining = need("support.constraining")
backend = need("vllm.v1.structured_output.backend_guidance")
registry = need("vllm.tool_parsers.structural_tag_registry")
protocol = need("vllm.entrypoints.openai.chat_completion.protocol")


@pytest.fixture(scope="module")
def constraints() -> Any:
    return constraining.Constraints()


def an_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


BOMBS: list[dict[str, Any]] = [
    {"json": {"enum": [f"option {n}" for n in range(100_000)]}},
    {"json": {"type": "integer", "multipleOf": 9_999_991}},
    {"json": {"type": "array", "items": {"type": "array", "maxItems": 10**6}, "minItems": 10**6}},
    {"json": an_object({f"p{n}": {"type": "string"} for n in range(5000)})},
    {"json": {"type": "string", "allOf": [{"pattern": f".*{c}.{{1,30}}{c}"} for c in "abcdefgh"]}},
    {"json": {"allOf": [
        {"anyOf": [an_object({f"p{n}{m}": True}) for n in range(8)]} for m in range(6)
    ]}},
    {"regex": ".*" * 500},
    {"regex": "|".join("a" * n + "b" for n in range(2000))},
    {"choice": [f"option {n}" for n in range(100_000)]},
    {"grammar": "root ::= " + " | ".join(f'"{n}"' for n in range(60_000))},
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: json.dumps(bomb)[:40])
async def test_what_takes_too_much_to_follow_is_refused(
    constraints: Any, bomb: dict[str, Any]
) -> None:
    with pytest.raises(SchemaTooComplex):
        await constraints.admit(**bomb)


async def test_what_a_start_asks_for_was_judged_before_its_time_runs() -> None:
    own = constraining.Constraints()
    own.admission.warm_up()
    await own.admit(json_object=True)
    assert own.admission._verdict.cache_info().misses == 1


@pytest.mark.parametrize(
    ("asked", "fits", "not_"),
    [
        ({"regex": "[ab]{2}"}, "ab", "abc"),
        ({"choice": ["yes", "no"]}, "no", "maybe"),
        ({"grammar": 'root ::= "a" root | "b"'}, "aab", "ba"),
        ({"json_object": True}, '{"a": [1]}', "[1]"),
    ],
)
async def test_every_other_constraint_is_admitted_and_kept(
    constraints: Any, asked: dict[str, Any], fits: str, not_: str
) -> None:
    admitted = await constraints.admit(**asked)
    assert constraints.takes(admitted, fits)
    assert not constraints.takes(admitted, not_)


@pytest.mark.parametrize("asked", [{"regex": "[.*"}, {"grammar": "root ::= no"}])
async def test_what_is_no_grammar_is_refused_with_the_reason(
    constraints: Any, asked: dict[str, Any]
) -> None:
    with pytest.raises(RequestRejected, match=r"cannot follow this grammar: .*(unclosed|'no')"):
        await constraints.admit(**asked)


async def test_each_request_gets_an_error_of_its_own(constraints: Any) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(RequestRejected) as found:
            await constraints.admit(json={"not": {}})
        errors.append(found.value)
    assert errors[0] is not errors[1]


async def test_what_was_admitted_is_not_checked_again_by_vllm(
    constraints: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(constraining.admission, "_vllms_check", lambda *a: checked.append(a))
    admitted = await constraints.admit(json={"type": "integer"})
    stranger = constraining.sampling.StructuredOutputsParams(json={"type": "integer"})
    for structured in (admitted, stranger):
        params = constraining.sampling.SamplingParams(structured_outputs=structured)
        backend.validate_guidance_grammar(params)
    assert [params.structured_outputs for params, _ in checked] == [stranger]


async def test_another_backend_of_the_operators_is_left_alone() -> None:
    constraints = constraining.Constraints(backend_name="xgrammar")
    asked = constraining.sampling.StructuredOutputsParams(json={"not": {}})
    params = constraining.sampling.SamplingParams(structured_outputs=asked)
    await constraints.admission.admit(params)
    assert params.structured_outputs is asked


def tag_of(model: str, choice: str, *schemas: dict[str, Any]) -> str:
    tools = [
        protocol.ChatCompletionToolsParam(
            type="function", function={"name": f"f{n}", "strict": True, "parameters": schema}
        )
        for n, schema in enumerate(schemas)
    ]
    tag = registry.get_model_structural_tag(
        model=model, tools=tools, tool_choice=choice, reasoning=False
    )
    return json.dumps(tag.model_dump())


NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
EITHER = {"type": "object", "properties": {"a": {"allOf": [{"type": "integer"}, {"minimum": 3}]}}}
CALL = '<tool_call>\n{"name": "f0", "arguments": {"a": 1}}\n</tool_call>'
OTHER = '<tool_call>{"name": "f1", "arguments": {"a": 3}}</tool_call>'
WRONG = '<tool_call>{"name": "f1", "arguments": {"a": 2}}</tool_call>'


@pytest.mark.parametrize(
    ("choice", "text", "fits"),
    [
        ("required", CALL, True),
        ("required", CALL + OTHER, True),
        ("required", WRONG, False),
        ("required", "Hello", False),
        ("auto", "Hello", True),
        ("auto", "Hello " + CALL + OTHER + " done", True),
        ("auto", "Hello " + WRONG, False),
        ("auto", CALL.replace("f0", "f9"), False),
        ("auto", CALL.replace("</tool_call>", ""), False),
    ],
)
async def test_a_tool_call_is_held_to_its_form_and_to_its_schema(
    constraints: Any, choice: str, text: str, fits: bool
) -> None:
    admitted = await constraints.admit(structural_tag=tag_of("hermes", choice, NUMBER, EITHER))
    assert constraints.takes(admitted, text) is fits


@pytest.mark.parametrize("model", ["llama", "qwen_3", "kimi", "deepseek_v3_1", "longcat"])
@pytest.mark.parametrize("choice", ["auto", "required"])
async def test_the_forms_of_other_models_can_be_written_too(
    constraints: Any, model: str, choice: str
) -> None:
    admitted = await constraints.admit(structural_tag=tag_of(model, choice, NUMBER))
    assert constraints.takes(admitted, "Hello") is (choice == "auto")


async def test_a_text_that_a_form_excludes_is_not_written(constraints: Any) -> None:
    admitted = await constraints.admit(structural_tag=tag_of("llama", "auto", NUMBER))
    assert constraints.takes(admitted, 'Hello {"name": "f0", "parameters": {"a": 1}}')
    assert constraints.takes(admitted, "Hello")
    assert not constraints.takes(admitted, "Hello <think>")


async def test_a_form_that_no_grammar_says_is_refused_with_what_to_do(constraints: Any) -> None:
    tag = json.loads(tag_of("qwen_3_coder", "required", NUMBER))
    tag["format"]["tags"][0]["content"]["style"] = "minimax_m3_xml"
    with pytest.raises(NotSupported, match="leave 'tool_choice' at 'auto'"):
        await constraints.admit(structural_tag=json.dumps(tag))


@pytest.mark.parametrize("model", ["hermes", "llama"])
async def test_a_tools_schema_has_the_same_bounds(constraints: Any, model: str) -> None:
    for schema, kind in (({"not": {}}, "not"), ({"minItems": 10**6}, "minItems")):
        tag = tag_of(model, "required", {"type": "object", "properties": {"a": schema}})
        with pytest.raises(RequestRejected, match=f"'{kind}'"):
            await constraints.admit(structural_tag=tag)


async def test_a_special_token_in_a_form_is_that_token(constraints: Any) -> None:
    tag = {"format": {"type": "tag", "begin": "<file_sep>call ", "end": "<reponame>",
                      "content": {"type": "const_string", "value": "x"}}}  # fmt: skip
    admitted = await constraints.admit(structural_tag=json.dumps(tag))
    assert constraints.takes(admitted, "<file_sep>call x<reponame>")


@pytest.mark.parametrize(
    "asked", [{"json": {"type": "object"}}, {"json": {}}, {"json_object": True}], ids=str
)
async def test_json_is_written_on_one_line_so_that_blanks_never_run_on(
    constraints: Any, asked: dict[str, Any]
) -> None:
    admitted = await constraints.admit(**asked)
    assert constraints.takes(admitted, '{"a": [1, 2], "b": {}}')
    assert constraints.takes(admitted, '{"a":[1,2],"b":{}}')
    for text in ("{ }", '{\n"a": 1}', '{"a":  1}', '{"a": [1,\n2]}'):
        assert not constraints.takes(admitted, text), text


@pytest.mark.parametrize(
    "asked",
    [
        {"json": "not json"},
        {"json": "5"},
        {"json": "[" * 5000 + "]" * 5000},
        {"json": '{"multipleOf": 1' + "0" * 400 + "}"},
        {"structural_tag": "not json"},
        {"structural_tag": "[]"},
        {"structural_tag": "{}"},
        {"structural_tag": '{"format": {"type": "tag"}}'},
        {"structural_tag": '{"structures": [{"begin": "x"}], "triggers": ["x"]}'},
    ],
    ids=lambda asked: str(asked)[:40],
)
async def test_a_text_that_is_no_schema_and_no_tag_is_the_clients_fault(
    constraints: Any, asked: dict[str, Any]
) -> None:
    with pytest.raises(RequestRejected, match="malformed"):
        await constraints.admit(**asked)
