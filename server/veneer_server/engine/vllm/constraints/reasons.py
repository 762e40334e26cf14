"""llguidance's words for what it cannot follow, as our errors. Pure functions."""

import re

from veneer_server.engine.base import RequestRejected, SchemaTooComplex, UnsupportedSchema

_UNIMPLEMENTED = re.compile(r"Unimplemented keys: \[(?P<keys>[^\]]*)\]")
_KEYWORDS = (
    (re.compile(r"Unknown format: (?P<what>.{1,100})"), "format"),
    (re.compile(r"oneOf constraints are not supported"), "oneOf"),
    (re.compile(r"Pointer '|Resource '|retrieving it failed|not present in a registry"), "$ref"),
    (re.compile(r"patternProperty regexes"), "patternProperties"),
    (re.compile(r"multipleOf"), "multipleOf"),
    (re.compile(r"Invalid type"), "type"),
    (re.compile(r"look-?around|backreference|regex parse error|in regex /"), "pattern"),
)
"""What llguidance says, and the keyword that it means."""
_TOO_MUCH = re.compile(
    r"too (big|large|deep|many)|fuel|limit|Unable to determine if regex is empty|precomputation"
    r"|TooComplex|max is \d",
    re.IGNORECASE,
)
_WHY = {
    "format": "no format of this name is known",
    "oneOf": "two of its schemas may both fit; use 'anyOf' if that is meant",
    "$ref": "it must lead to a part of the same schema",
    "patternProperties": "two of its patterns fit the same name",
    "pattern": "look-around, back-references and some other parts of expressions are not supported",
}
_PLACE = re.compile(r"\bat \d+\(\d+\): ")
_WHERE = re.compile(r"\n *\d+ \| |\n<state>")
"""Where llguidance begins to show the grammar, which the client did not write."""
_LONGEST = 200


def to_rejection(message: str, *, is_schema: bool) -> RequestRejected:
    """Return the error for llguidance's ``message`` about a schema, or another kind of grammar."""
    if found := _UNIMPLEMENTED.search(message):
        names = re.findall(r'"([^"]*)"', found["keys"])
        return UnsupportedSchema(_explain(names, None))
    if is_schema:
        for words, keyword in _KEYWORDS:
            if words.search(message):
                return UnsupportedSchema(_explain([keyword], _WHY.get(keyword)))
    if _TOO_MUCH.search(message):
        return SchemaTooComplex(
            "What the answer must fit is too complex to be followed. Make it smaller or simpler."
        )
    return RequestRejected(f"The engine cannot follow this {_kind(is_schema)}: {_short(message)}")


def _explain(keywords: list[str], why: str | None) -> str:
    names = " and ".join(f"'{name}'" for name in keywords)
    plural = len(keywords) > 1
    start = f"The schema's keyword{'s' if plural else ''} {names}"
    if why:
        return f"{start} cannot be followed: {why}."
    return f"{start} {'are' if plural else 'is'} not supported."


def _kind(is_schema: bool) -> str:
    return "schema" if is_schema else "grammar"


def _short(message: str) -> str:
    plain = " ".join(_WHERE.split(_PLACE.sub("", message), maxsplit=1)[0].split())
    return plain if len(plain) <= _LONGEST else plain[:_LONGEST] + "..."
