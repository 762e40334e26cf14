"""A tool call in XML is held to its form and to its schema, or the request is refused by name."""

import json
from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.base import RequestRejected
from veneer_server.engine.vllm.constraints.xml import Parameter, parameters

pytestmark = pytest.mark.engine

constraining = need("support.constraining")
registry = need("vllm.tool_parsers.structural_tag_registry")
protocol = need("vllm.entrypoints.openai.chat_completion.protocol")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "where"},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"$ref": "#/$defs/Unit"},
        "hours": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["city", "unit"],
    "$defs": {"Unit": {"enum": ["C", "F"], "type": "string"}},
    "additionalProperties": False,
}
QWEN = """<tool_call>
<function=f>
<parameter=city>
New
York "NY"
</parameter>
<parameter=days>
3
</parameter>
<parameter=unit>
C
</parameter>
</function>
</tool_call>"""
GLM = (
    "<tool_call>f<arg_key>city</arg_key><arg_value>Paris</arg_value><arg_key>days</arg_key>"
    "<arg_value>3</arg_value><arg_key>unit</arg_key><arg_value>C</arg_value></tool_call>"
)
D = "｜DSML｜"  # noqa: RUF001 - as the model writes it
DEEPSEEK = f"""

<{D}function_calls>
<{D}invoke name="f">
<{D}parameter name="city" string="true">Paris</{D}parameter>
<{D}parameter name="days" string="false">3</{D}parameter>
<{D}parameter name="unit" string="true">C</{D}parameter>
</{D}invoke>
</{D}function_calls>"""
CALLS = {"qwen_3_coder": QWEN, "qwen_3_5": QWEN, "glm_4_7": GLM, "deepseek_v3_2": DEEPSEEK}
HOURS = {
    "qwen_3_coder": "<parameter=hours>\n[1, 2]\n</parameter>\n",
    "glm_4_7": "<arg_key>hours</arg_key><arg_value>[1, 2]</arg_value>",
    "deepseek_v3_2": f'<{D}parameter name="hours" string="false">[1, 2]</{D}parameter>\n',
}
ENDS = {"qwen_3_coder": "</function>", "glm_4_7": "</tool_call>", "deepseek_v3_2": f"</{D}invoke>"}
LEFT_OUT = {
    "qwen_3_coder": "<parameter=days>\n3\n</parameter>\n",
    "glm_4_7": "<arg_key>days</arg_key><arg_value>3</arg_value>",
    "deepseek_v3_2": f'<{D}parameter name="days" string="false">3</{D}parameter>\n',
}


def without_unit(model: str) -> str:
    """Return the call without a parameter that is required."""
    unit = LEFT_OUT[model].replace("days", "unit").replace("3", "C").replace("false", "true")
    assert unit in CALLS[model]
    return CALLS[model].replace(unit, "")


@pytest.fixture(scope="module")
def constraints() -> Any:
    made = constraining.Constraints()
    made.admission.warm_up()
    return made


def tag_of(model: str, schema: Any, choice: str = "required", *, strict: bool = True) -> str:
    function = {"name": "f", "strict": strict, "parameters": schema}
    tool = protocol.ChatCompletionToolsParam(type="function", function=function)
    tag = registry.get_model_structural_tag(
        model=model, tools=[tool], tool_choice=choice, reasoning=False
    )
    return json.dumps(tag.model_dump())


@pytest.mark.parametrize("model", CALLS)
async def test_a_call_that_fits_is_written_and_no_other(constraints: Any, model: str) -> None:
    admitted = await constraints.admit(structural_tag=tag_of(model, WEATHER))
    call = CALLS[model]
    assert constraints.takes(admitted, call)
    for wrong in (
        call.replace("3", "0"),
        call.replace("3", '"3"'),
        call.replace("days", "weeks"),
        call.replace("C", "K"),
        "Hello",
    ):
        assert not constraints.takes(admitted, wrong), wrong


@pytest.mark.parametrize("model", LEFT_OUT)
async def test_only_a_parameter_that_is_not_required_may_be_left_out(
    constraints: Any, model: str
) -> None:
    admitted = await constraints.admit(structural_tag=tag_of(model, WEATHER))
    assert constraints.takes(admitted, CALLS[model].replace(LEFT_OUT[model], ""))
    assert constraints.takes(
        admitted, CALLS[model].replace(ENDS[model], HOURS[model] + ENDS[model])
    )
    assert not constraints.takes(admitted, without_unit(model))


@pytest.mark.parametrize("inside", ["<parameter=days>", "</function>", "</tool_call>"])
async def test_a_text_has_nothing_in_it_that_the_parser_takes_for_a_tag(
    constraints: Any, inside: str
) -> None:
    admitted = await constraints.admit(structural_tag=tag_of("qwen_3_coder", WEATHER))
    assert not constraints.takes(admitted, QWEN.replace("New\n", inside))
    assert constraints.takes(admitted, QWEN.replace("New\n", "<b>\n"))


@pytest.mark.parametrize("model", LEFT_OUT)
async def test_a_call_that_is_held_to_no_schema_is_held_to_its_form(
    constraints: Any, model: str
) -> None:
    admitted = await constraints.admit(structural_tag=tag_of(model, WEATHER, strict=False))
    assert constraints.takes(admitted, CALLS[model])
    assert constraints.takes(admitted, without_unit(model))
    assert not constraints.takes(admitted, CALLS[model].replace(ENDS[model], ""))


async def test_unless_a_call_is_required_the_model_may_answer_in_words(constraints: Any) -> None:
    admitted = await constraints.admit(structural_tag=tag_of("qwen_3_coder", WEATHER, "auto"))
    assert constraints.takes(admitted, "Hello")
    assert constraints.takes(admitted, "I look.\n" + QWEN)


def test_a_tool_without_parameters_has_none() -> None:
    assert parameters({"type": "object", "properties": {}}) == []


@pytest.mark.parametrize(
    ("schema", "is_as"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, Parameter("a", False)),
        ({"type": ["string", "null"]}, Parameter("a", False)),
        ({"const": "x"}, Parameter("a", False, texts=("x",))),
        ({"enum": [1, 2]}, Parameter("a", False, {"enum": [1, 2]})),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            Parameter("a", False, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ),
    ],
    ids=str,
)
def test_what_a_parameter_may_be(schema: dict[str, Any], is_as: Parameter) -> None:
    assert parameters({"properties": {"a": schema}}) == [is_as]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (False, "must be an object"),
        ({"type": "string"}, "must be an object"),
        ({"properties": []}, "'properties'"),
        ({"properties": {}, "required": [["a"]]}, "'required'"),
        ({"properties": {}, "required": "a"}, "'required'"),
        ({"properties": {}, "$defs": []}, "must be objects"),
    ],
    ids=str,
)
def test_what_is_no_schema_of_parameters_is_the_clients_fault(schema: Any, why: str) -> None:
    with pytest.raises(RequestRejected, match=why):
        parameters(schema)


@pytest.mark.parametrize("text", ["</parameter>", "a<parameter=b>", "\n</function>"])
async def test_a_text_to_choose_that_has_a_tag_in_it_is_refused(
    constraints: Any, text: str
) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", text]}}, "required": ["a"]}
    with pytest.raises(RequestRejected, match="a text of 'a' has a tag in it"):
        await constraints.admit(structural_tag=tag_of("qwen_3_coder", schema))


WIDE = {str(at): {"anyOf": [{"$ref": f"#/$defs/{at + 1}"}] * 3} for at in range(25)}
"""3**25 ways to nothing."""
WIDE["25"] = {"anyOf": []}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"bad": {"type": "string", "maxLength": 3}}},
        {"properties": {"bad": {"type": ["string", "integer"]}}},
        {"properties": {"bad": {"enum": ["x", 1]}}},
        {"properties": {"bad": {}}},
        {"properties": {"bad": True}},
        {"properties": {"bad": {"$ref": "#/$defs/none"}}},
        {"properties": {"bad": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"$ref": "#/$defs/b"}}},
        {"properties": {"bad>": {"type": "string"}}},
        {"properties": {}, "required": ["bad"]},
        {"properties": {}, "patternProperties": {"bad": {}}, "bad": 1},
        {"properties": {"bad": {"enum": "xy"}}},
        {"properties": {"bad": {"type": {}}}},
        {"properties": {"bad": {"type": [{}]}}},
        {"properties": {"bad": {"anyOf": [{"type": "integer"}] * 300}}},
        {"properties": {"bad": {"$ref": "#/$defs/0"}}, "$defs": WIDE},
    ],
    ids=lambda schema: str(schema)[:80],
)
def test_what_this_form_cannot_keep_is_refused_by_name(schema: dict[str, Any]) -> None:
    with pytest.raises(RequestRejected, match=r"which is XML, .*('bad|patternProperties)"):
        parameters(schema)
