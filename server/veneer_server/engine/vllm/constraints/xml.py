"""Tool calls in XML: what their parameters may be, where each stands between tags of its own.

Pure functions. A parameter that is a text stands there as it is, without quotes; every other one
as JSON. So a schema is kept parameter by parameter, in the order of its properties, or refused by
the name of the parameter of which that cannot be said.

Sources: the chat templates of Qwen3-Coder, GLM-4.7 and DeepSeek-V3.2; vLLM's parsers for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from veneer_server.engine.base import UnsupportedSchema

_Part = Mapping[str, Any]


class Style(NamedTuple):
    """How a model writes one: ``begin``, its name, ``text`` or ``json``, its value, ``end``."""

    begin: str
    text: str
    json: str
    end: str
    between: str = ""
    never: tuple[str, ...] = ()
    """What no text may have inside: the parser would take it for a tag."""


STYLES: Mapping[str, Style] = {
    "qwen_xml": Style("<parameter=", ">\n", ">\n", "\n</parameter>", "\n",
                      ("<parameter", "</parameter", "</function", "</tool_call")),
    "glm_xml": Style("<arg_key>", "</arg_key><arg_value>", "</arg_key><arg_value>", "</arg_value>",
                     never=("<arg_", "</arg_", "</tool_call")),
    "deepseek_xml": Style('<｜DSML｜parameter name="', '" string="true">', '" string="false">',  # noqa: RUF001
                          "</｜DSML｜parameter>\n", never=("<｜DSML｜", "</｜DSML｜")),  # noqa: RUF001
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: one of the ``texts``, any text where that is empty, or JSON of ``schema``."""

    name: str
    required: bool
    schema: _Part | None = None
    texts: tuple[str, ...] = ()


_SAY_NOTHING = frozenset(
    {"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id"}
)
_OBJECT = _SAY_NOTHING | {"type", "properties", "required", "additionalProperties"}
_SHARED = ("$defs", "definitions")
_JSON = frozenset({"integer", "number", "boolean", "null", "array", "object"})
_MOST_LOOKS = 200
"""How many parts of a parameter are looked at: names may refer to each other in circles."""


def parameters(schema: Any) -> list[Parameter]:
    """Return the parameters of a tool, in the order in which they are written.

    Raises:
        UnsupportedSchema: the schema says something of them that this form cannot keep.
    """
    properties, required = _members(schema)
    for keyword in schema:
        if keyword not in _OBJECT and keyword not in _SHARED:
            raise UnsupportedSchema(f"{_FORM} '{keyword}' of the parameters cannot be kept.")
    if missing := [name for name in required if name not in properties]:
        raise UnsupportedSchema(f"{_FORM} the required '{missing[0]}' needs a property.")
    shared = {name: schema[name] for name in _SHARED if name in schema}
    return [
        _parameter(name, part, required=name in required, shared=shared)
        for name, part in properties.items()
    ]


def refuse_tags(parameter: Parameter, style: Style) -> None:
    """Return if the parser would read each text of ``parameter`` as it was written.

    Raises:
        UnsupportedSchema: it would take a part of one for a tag.
    """
    if any(tag in text for text in parameter.texts for tag in (*style.never, style.end)):
        raise UnsupportedSchema(f"{_FORM} a text of '{parameter.name}' has a tag in it.")


def _members(schema: Any) -> tuple[Mapping[str, Any], list[str]]:
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise UnsupportedSchema(f"{_FORM} the parameters must be an object.")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping):
        raise UnsupportedSchema(f"{_FORM} 'properties' must be an object.")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise UnsupportedSchema(f"{_FORM} 'required' must be a list of names.")
    if not all(isinstance(schema.get(name, {}), Mapping) for name in _SHARED):
        raise UnsupportedSchema(f"{_FORM} {' and '.join(_SHARED)} must be objects.")
    return properties, required


_FORM = "In this model's form of tool calls, which is XML,"


def _parameter(name: str, part: Any, *, required: bool, shared: _Part) -> Parameter:
    if not name or set(name) & set('<>"\n'):
        raise UnsupportedSchema(f"{_FORM} '{name}' cannot be the name of a parameter.")
    looks = iter(range(_MOST_LOOKS))
    options = [option for option in _options(part, shared, looks) if option != {"type": "null"}]
    texts = [_texts(option) for option in options]
    if not any(text is not None for text in texts) and all(map(_is_json, options)):
        return Parameter(name, required, {**part, **shared})
    # "null" is a text too, so a text that may be left out is a text.
    if len(options) == 1 and texts[0] is not None:
        return Parameter(name, required, texts=texts[0])
    raise UnsupportedSchema(
        f"{_FORM} '{name}' must be a plain string, one of some strings, or no string at all."
    )


def _options(part: Any, shared: _Part, looks: Iterator[int]) -> Iterator[Any]:
    """Yield what a parameter may be, each of one type, or {} for what is not understood."""
    part = {} if part is True else part
    if next(looks, None) is None or not isinstance(part, Mapping):
        yield {}
    elif "$ref" in part:
        yield from _options(_target(part["$ref"], shared), shared, looks)
    elif isinstance(found := part.get("anyOf", part.get("oneOf")), list):
        for option in found:
            yield from _options(option, shared, looks)
    elif isinstance(kinds := part.get("type"), list):
        yield from ({**_said(part), "type": kind} for kind in kinds)
    else:
        yield _said(part)


def _said(part: _Part) -> _Part:
    return {name: value for name, value in part.items() if name not in _SAY_NOTHING}


def _target(ref: Any, shared: _Part) -> Any:
    _, _, path = str(ref).partition("#/")
    kind, _, name = path.partition("/")
    return shared.get(kind, {}).get(name, False)


def _texts(option: _Part) -> tuple[str, ...] | None:
    """Return the texts that ``option`` takes, () for any; None where it is no plain text."""
    values = _values(option)
    said = option.keys() - {"enum", "const", "type"}
    if said or option.get("type", "string") != "string":
        return None
    if not values:
        return () if "type" in option else None
    return tuple(values) if all(isinstance(value, str) for value in values) else None


def _is_json(option: _Part) -> bool:
    if values := _values(option):
        return not any(isinstance(value, str) for value in values)
    return isinstance(kind := option.get("type"), str) and kind in _JSON


def _values(option: _Part) -> Sequence[Any]:
    found = option.get("enum", [option["const"]] if "const" in option else [])
    # What is no list is no schema; a mixture is neither a text nor JSON, so it is refused.
    return found if isinstance(found, list) else ["", 0]
