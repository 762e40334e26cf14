"""Structural tags, vLLM's form of a constraint on tool calls, as grammars for llguidance.

Pure functions. vLLM writes the tags of a model's tool calls for xgrammar. As a grammar they are
followed by the same backend as every other constraint, and exactly.

Sources: xgrammar's structural_tag.py for the formats; llguidance's docs/syntax.md for the grammar.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from veneer_server.engine.base import NotSupported
from veneer_server.engine.vllm.constraints.schemas import check_schema, on_one_line
from veneer_server.engine.vllm.constraints.xml import (
    STYLES,
    Parameter,
    Style,
    parameters,
    refuse_tags,
)

_ANY = r"(.|\n)*"
_DEFAULTS: Mapping[str, Any] = {
    "any_order": False, "max_whitespace_cnt": None, "max_tokens": None, "max_chars": None,
}  # fmt: skip
"""Members of a format that a grammar cannot say, each with the value that says nothing."""

_Form = Mapping[str, Any]


def to_grammar(tag: _Form, special: Collection[str]) -> str:
    """Return the grammar in llguidance's Lark for a structural tag.

    ``special`` are the texts of the special tokens: in an answer these are no plain text.

    Raises:
        NotSupported: the tag has a format, or an option of one, that no grammar can say.
        UnsupportedSchema, SchemaTooComplex: as for ``check_schema``.
    """
    return _Writer(special).write(tag["format"])


class _Writer:
    def __init__(self, special: Collection[str]) -> None:
        texts = sorted(special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self._names: dict[str, str] = {}
        """What stands right of the colon of each rule -> its name."""

    def write(self, form: _Form) -> str:
        start = self._expression(form)
        rules = [f"{name}: {expression}" for expression, name in self._names.items()]
        return "\n".join(["%llguidance {}", f"start: {start}", *rules, ""])

    def _expression(self, form: Any) -> str:
        kind = form.get("type") if isinstance(form, Mapping) else None
        write = _WRITERS.get(str(kind))
        if write is None or any(form.get(name, told) != told for name, told in _DEFAULTS.items()):
            raise NotSupported(
                "Tool calls in this model's form cannot be held to a schema here. Leave out"
                " 'strict', and leave 'tool_choice' at 'auto'."
            )
        return write(self, form)

    def _named(self, expression: str, prefix: str = "part", mark: str = "") -> str:
        name = f"{prefix}_{len(self._names)}"
        return self._names.setdefault(expression, name + mark).removesuffix(mark)

    def _literal(self, text: str) -> str:
        pieces, end = [], 0
        for found in self._special.finditer(text):
            pieces += [json.dumps(text[end : found.start()]), found.group()]
            end = found.end()
        pieces.append(json.dumps(text[end:]))
        return " ".join(piece for piece in pieces if piece != '""')

    def _text(self, form: _Form) -> str:
        """Return a name for any text without those that the form excludes."""
        excluded = [text for text in form.get("excludes", []) if not self._is_special(text)]
        if not excluded:
            return self._named(f"/{_ANY}/", "TEXT")
        without = _either(json.dumps(text) for text in excluded)
        return self._named(f"/{_ANY}/ & ~(/{_ANY}/ {without} /{_ANY}/)", "TEXT")

    def _is_special(self, text: str) -> bool:
        return self._special.fullmatch(text) is not None

    def const_string(self, form: _Form) -> str:
        return self._literal(form["value"]) or '""'

    def json_schema(self, form: _Form) -> str:
        schema, style = form["json_schema"], form.get("style", "json")
        check_schema(schema)
        if style == "json":
            return self._json(schema)
        if style not in STYLES:
            return self._expression({})
        xml = STYLES[style]
        return self._xml(parameters(schema), xml) if schema is not True else self._any_xml(xml)

    def _json(self, schema: Any) -> str:
        return self._named("%json " + json.dumps(on_one_line(schema)))

    def _xml(self, found: Sequence[Parameter], style: Style) -> str:
        """Return an expression for the parameters in order, those left out that may be."""
        first = later = '""'
        for parameter in reversed(found):
            alone = f"{self._parameter(parameter, style, style.begin)} {later}"
            after = f"{self._parameter(parameter, style, style.between + style.begin)} {later}"
            if not parameter.required:
                alone, after = _either([alone, first]), _either([after, later])
            first, later = self._named(alone), self._named(after)
        return first

    def _parameter(self, parameter: Parameter, style: Style, begin: str) -> str:
        # The tag is one literal: llguidance's lexer does not go back to the end of a shorter one.
        begin += parameter.name
        if parameter.schema is not None:
            inside = f"{self._json(parameter.schema)} {self._literal(style.end)}"
            return f"{self._literal(begin + style.json)} {inside}"
        inside = self._until(style.end, {"excludes": style.never})
        if parameter.texts:
            refuse_tags(parameter, style)
            texts = _either(self._literal(text) or '""' for text in parameter.texts)
            inside = f"{texts} {self._literal(style.end)}"
        return f"{self._literal(begin + style.text)} {inside}"

    def _any_xml(self, style: Style) -> str:
        """Return an expression for any parameters, of a tool that is held to no schema."""
        name = self._named(r"/[^<>\"\n]+/", "NAME")
        middle = _either(self._literal(text) for text in (style.text, style.json))
        rest = f"{name} {middle} {self._until(style.end, {'excludes': style.never})}"
        first, later = style.begin, style.between + style.begin
        return f"({self._literal(first)} {rest} ({self._literal(later)} {rest})*)?"

    def regex(self, form: _Form) -> str:
        pattern = str(form["pattern"]).replace("/", r"\/")
        return self._named(f"/{pattern}/", "REGEX")

    def sequence(self, form: _Form) -> str:
        return " ".join(self._in_sequence(form["elements"]))

    def _in_sequence(self, parts: Sequence[_Form]) -> Iterator[str]:
        waiting = iter(parts)
        for part in waiting:
            after = next(waiting, None) if part.get("type") == "any_text" else None
            if after is None:
                yield self._expression(part)
            elif after.get("type") == "const_string":
                yield self._until(after["value"], part)
            else:
                yield f"{self._text(part)} {self._expression(after)}"

    def choice(self, form: _Form) -> str:
        return _either(self._expression(part) for part in form["elements"])

    def optional(self, form: _Form) -> str:
        return f"({self._expression(form['content'])})?"

    def plus(self, form: _Form) -> str:
        return f"({self._expression(form['content'])})+"

    def star(self, form: _Form) -> str:
        return f"({self._expression(form['content'])})*"

    def tag(self, form: _Form, after: str = "") -> str:
        begin, end, content = form["begin"], form["end"], form["content"]
        ends = end if isinstance(end, list) else [end]
        if not all(isinstance(text, str) for text in [begin, *ends]):
            return self._expression({})  # tokens instead of texts
        if content.get("type") == "any_text":
            inside = _either(self._until(text, content) for text in ends)
        else:
            inside = f"{self._expression(content)} {_either(map(self._literal, ends))}"
        return self._named(f"{self._literal(begin.removeprefix(after))} {inside}")

    def _until(self, end: str, form: _Form) -> str:
        """Return an expression for any text up to and with ``end``."""
        if not end or self._is_special(end):
            return f"{self._text(form)} {end}"
        # The first ``end`` ends the text.
        return self._named(f"{self._text(form)} {json.dumps(end)}", "until", "[lazy]")

    def tags_with_separator(self, form: _Form) -> str:
        one = _either(self._expression(tag) for tag in form["tags"])
        if not form.get("stop_after_first"):
            one = f"{one} ({self._literal(form['separator'])} {one})*"
        return f"({one})" if form.get("at_least_one") else f"({one})?"

    def triggered_tags(self, form: _Form) -> str:
        calls = _either(self._call(tag, form["triggers"], form) for tag in form["tags"])
        if form.get("stop_after_first"):
            return calls if form.get("at_least_one") else _either([calls, self._text(form)])
        return f"{calls}{'+' if form.get('at_least_one') else '*'} {self._text(form)}"

    def _call(self, tag: _Form, triggers: Sequence[str], form: _Form) -> str:
        begin = str(tag["begin"])
        trigger = next((text for text in triggers if begin.startswith(text)), None)
        if trigger is None:
            return self._expression({})
        return f"{self._until(trigger, form)} {self.tag(tag, after=trigger)}"


def _either(options: Any) -> str:
    return f"({' | '.join(dict.fromkeys(options))})"


_WRITERS: Mapping[str, Callable[[_Writer, _Form], str]] = {
    "const_string": _Writer.const_string,
    "json_schema": _Writer.json_schema,
    "any_text": _Writer._text,
    "regex": _Writer.regex,
    "sequence": _Writer.sequence,
    "or": _Writer.choice,
    "optional": _Writer.optional,
    "plus": _Writer.plus,
    "star": _Writer.star,
    "tag": _Writer.tag,
    "tags_with_separator": _Writer.tags_with_separator,
    "triggered_tags": _Writer.triggered_tags,
}
"""xgrammar's formats that are written here; the others are about tokens."""
