"""Strategies for the bodies of requests: by the schema, beside it, and hostile as JSON."""

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from support.fuzzing.documents import MEMBER, Json

MOST_TOKENS = 4
_LIMITS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
    "/v1/responses/input_tokens": (),
    "/v1/veneer/compare": ("max_completion_tokens", "max_tokens"),
    "/v1/messages/count_tokens": (),
    "/tokenize": (),
    "/detokenize": (),
}
"""The members that say how long an answer may be, of every route that has a model."""

NUMBERS = st.sampled_from(
    [0, -0.0, -1, 1.5, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1e-308, 1.7e308, 5e-324, True]
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "\ufeff", "\x7f", "\u2028", "a\u0301" * 99, "\U0010ffff", "<|im_start|>",
         "{{7*7}}", "{% for x in y %}", "../../etc/passwd", "%s%n", "x" * 3000, "\\u0000", "null",
         "\r\n\t\b"]
    ),
    st.text(max_size=20),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXTS, st.integers(-9, 300), st.floats(-3, 3)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any JSON."""

_MARK = "\ue0f0mark"
FRAGMENTS = [
    rb'"\ud800"', rb'"\udc00\ud800"', rb'"\u0000"', b'"\x00"', b'"\xff"', b'"\xc0\x80"',
    b"1e999", b"-1e-999", b"9" * 400, b"1" * 4400, b"-0", b"0x1", b"01", b"NaN", b"Infinity",
    b"[" * 150 + b"]" * 150, b"[" * 300 + b"]" * 300, b'{"a":' * 99 + b"1" + b"}" * 99,
    b'{"a":1,"a":2}', b'{"__proto__":{}}', b"", b"'x'", b"undefined", b"1,", b'"', b"\xef\xbb\xbf1",
    b'{"$ref":"#"}', b'{"a":' * 199, b"18446744073709551616", b"1.0", b"[[]]", b"tru",
]  # fmt: skip
"""What one member may be as JSON, or almost as JSON."""


class Bodies:
    """The strategies for one document."""

    def __init__(self, document: Json) -> None:
        self._schema = schemathesis.openapi.from_dict(document)
        self._members: dict[str, list[str]] = {}
        for operation in document["paths"]:
            path, _, member = operation.partition("#")
            self._members.setdefault(path, []).extend([member] if member else [])
        self.paths = list(self._members)

    def whole(self, path: str) -> st.SearchStrategy[Any]:
        """Return bodies as the schema has them, and such as it has not."""
        return st.one_of(
            self._of(path, GenerationMode.POSITIVE), self._of(path, GenerationMode.NEGATIVE)
        )

    def nearly(self, path: str, works: Json) -> st.SearchStrategy[Json]:
        """Return ``works`` with up to three members changed."""
        changes = st.lists(self._change(path), min_size=1, max_size=3)
        return changes.map(
            lambda found: {**works, **{k: v for one in found for k, v in one.items()}}
        )

    def _change(self, path: str) -> st.SearchStrategy[Json]:
        return st.sampled_from(self._members[path]).flatmap(lambda name: self._values(path, name))

    def _values(self, path: str, name: str) -> st.SearchStrategy[Json]:
        alone = MEMBER.format(path=path, member=name)
        made = [self._of(alone, mode) for mode in GenerationMode]
        # What is not even an object is then the value of the member.
        found = st.one_of(*made).map(lambda one: one if isinstance(one, dict) else {name: str(one)})
        return st.one_of(found, st.fixed_dictionaries({name: VALUES}))

    def _of(self, path: str, mode: GenerationMode) -> st.SearchStrategy[Any]:
        operation = self._schema[path]["POST"]
        return operation.as_strategy(generation_mode=mode).map(lambda case: case.body)


def settle(path: str, body: Json, model: str) -> Json:
    """Return ``body`` such that it has an answer soon, if it has one at all."""
    if path not in _LIMITS:
        return body
    # The route that compares has names of models already.
    named = {} if "models" in body else {"model": model}
    found, limits = {**body, **named}, _LIMITS[path]
    given = {name for name in limits if found.get(name) is not None} or limits[:1]
    for name in given:
        if name not in body or body[name] is None or _is_more(body[name]):
            found[name] = MOST_TOKENS
    return found


def _is_more(wanted: Any) -> bool:
    return type(wanted) is int and wanted > MOST_TOKENS


@st.composite
def written(
    draw: st.DrawFn, path: str, bodies: st.SearchStrategy[Any], models: st.SearchStrategy[str]
) -> bytes:
    """Return a body as JSON; one in ten has a member that is hardly JSON."""
    body = draw(bodies)
    if not isinstance(body, dict):
        return body if isinstance(body, bytes) else _dump(body)
    body = settle(path, body, draw(models))
    if not body or draw(st.integers(0, 9)) < 9:
        # Most texts are to get further than to the parser.
        return _dump(body).replace(rb"\u0000", b"")
    marked = _dump({**body, draw(st.sampled_from(sorted(body))): _MARK})
    return marked.replace(_dump(_MARK), draw(st.sampled_from(FRAGMENTS)))


def _dump(body: Any) -> bytes:
    return json.dumps(body).encode()
