"""The adapter routes as the contract has them, in memory: refuses every request that breaks it."""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
from werkzeug import Request, Response

CREATED_S = 1_790_000_000

_SOURCE = {"type": "string", "pattern": "^(/|(hf|https|s3|gs|az)://)"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "integer", "minimum": 1}


def _body(required: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(required),
        "additionalProperties": False,
    }


_TARGET = _body(("revision", "weight"), revision=_NUMBER, weight=_NUMBER)
_GUARD = _body(("min_requests", "margin"), min_requests=_NUMBER, margin={"type": "number"})
_MOVE = {
    "oneOf": [
        _body(("revision",), revision=_NUMBER),
        _body(
            ("targets",),
            targets={"type": "array", "items": _TARGET, "minItems": 1},
            sticky={"enum": [None, "user", "key"]},
            guard=_GUARD,
        ),
    ]
}
_NEW = _body(
    ("name", "source"),
    name={"type": "string"},
    source=_SOURCE,
    allow_no_effect=_FLAG,
    pinned=_FLAG,
    wait=_FLAG,
)
_CONTENT = _body(
    ("source",),
    source=_SOURCE,
    alias={"enum": ["live", None]},
    allow_no_effect=_FLAG,
    wait=_FLAG,
)
_NOTHING = _body()


class Fault(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, code: str | None, message: str, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


@dataclass
class Seen:
    """One request that came in."""

    method: str
    path: str
    """As it was sent, percent-encoded."""
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class AdaptersStub:
    """Call it with a request; it answers as a server without a model would."""

    key: str | None = None
    page: int = 100
    """Most rows of one page, whatever is asked for."""
    looks: list[dict[str, Any]] = field(default_factory=list)
    """Progress that the next looks at an adapter see while the server works on content."""
    refuse: tuple[str, str] | None = None
    """Reason and detail that the next content is refused with."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the next revisions have otherwise than usual."""
    known: int | None = None
    """Which revision the next content already is, if it is not new."""
    on_look: Callable[[], None] = field(default=lambda: None)
    seen: list[Seen] = field(default_factory=list)
    adapters: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    histories: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    kept: dict[str, Response] = field(default_factory=dict)
    at_work: dict[str, tuple[list[dict[str, Any]], str, str | None]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        """Answer ``request``, or say which part of the contract it breaks."""
        raw = urlsplit(request.environ["REQUEST_URI"]).path
        body = json.loads(request.data) if request.data else None
        self.seen.append(Seen(request.method, raw, dict(request.args), dict(request.headers), body))
        try:
            return self._once(request, raw, body)
        except Fault as fault:
            error = {
                "message": str(fault),
                "type": "invalid_request_error",
                "param": fault.param,
                "code": fault.code,
            }
            return _answer({"error": error}, fault.status)

    def have(self, name: str, *, revisions: int = 1, read_only: bool = False) -> None:
        """Make an adapter with so many revisions, as if it had been published."""
        self.adapters[name] = self._new(name, "/adapters/" + name, pinned=False)
        self.adapters[name]["read_only"] = read_only
        for _ in range(revisions):
            self._publish(name, "/adapters/" + name, "live")

    def _once(self, request: Request, raw: str, body: Any) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            raise Fault(401, "invalid_api_key", "The key is missing or wrong.")
        if request.method != "POST":
            return self._route(request, raw, body)
        once = request.headers.get("idempotency-key", "")
        if not re.fullmatch(r"[0-9a-f-]{36}", once):
            raise Fault(400, None, "A POST of this client carries an Idempotency-Key.")
        if once not in self.kept:
            self.kept[once] = self._route(request, raw, body)
        return self.kept[once]

    def _route(  # noqa: C901, PLR0911 - one case for each route
        self, request: Request, raw: str, body: Any
    ) -> Response:
        parts = [unquote(part) for part in raw.removeprefix("/v1/adapters").split("/")[1:]]
        match (request.method, *parts):
            case ("GET",):
                return self._listed(request, list(map(self._shown, self.adapters)))
            case ("POST",):
                return self._add(_valid(body, _NEW))
            case ("GET", name):
                return _answer(self._look(name))
            case ("PATCH", name):
                self._get(name).update(_valid(body, _body(("pinned",), pinned=_FLAG)))
                return _answer(self._shown(name))
            case ("DELETE", name):
                self._get(name)
                del self.adapters[name]
                return Response(status=204)
            case ("GET", name, "revisions"):
                self._get(name)
                return self._listed(request, self.versions[name])
            case ("POST", name, "revisions"):
                return self._content(name, _valid(body, _CONTENT))
            case ("POST", name, "load" | "unload" as verb):
                _valid(body, _NOTHING)
                if verb == "unload" and self._get(name)["pinned"]:
                    raise Fault(409, "adapter_conflict", "It is pinned.", "adapter_pinned")
                self._get(name)["state"] = "resident" if verb == "load" else "ready"
                self.done.append(f"{verb} {name}")
                return _answer(self._shown(name))
            case (_, name, "aliases", alias, *rest):
                return self._aliases(request, self._get(name), alias, rest, body)
        raise Fault(404, "unknown_url", "There is no such route.")

    def _aliases(
        self, request: Request, adapter: dict[str, Any], alias: str, rest: list[str], body: Any
    ) -> Response:
        name, aliases = adapter["name"], adapter["aliases"]
        match (request.method, *rest):
            case ("PUT",):
                move = _valid(body, _MOVE)
                self._expect_version(request.headers.get("if-match"), aliases.get(alias))
                targets = move.get("targets") or [{"revision": move["revision"], "weight": 1}]
                known = {each["number"] for each in self.versions[name]}
                if not {target["revision"] for target in targets} <= known:
                    raise Fault(404, "model_not_found", f"`{name}` has no such revision.")
                return self._moved(name, alias, move | {"targets": targets}, "move")
            case ("DELETE",):
                if alias == "live":
                    raise Fault(400, None, "The alias live cannot be removed.")
                del aliases[alias]
                return Response(status=204)
            case ("POST", "rollback"):
                _valid(body, _NOTHING)
                before = self.histories[name, alias]
                if len(before) < 2:
                    raise Fault(400, None, f"`{name}@{alias}` never pointed elsewhere.")
                return self._moved(name, alias, before[-2], "rollback")
            case ("GET", "history"):
                return self._listed(request, self.histories[name, alias][::-1])
        raise Fault(405, "method_not_allowed", "The method is not allowed here.")

    def _expect_version(self, wanted: str | None, now: dict[str, Any] | None) -> None:
        if wanted is None:
            return
        if not re.fullmatch(r'"\d+"', wanted):
            raise Fault(400, None, "If-Match is a version in double quotes.")
        if now is None or wanted != f'"{now["version"]}"':
            raise Fault(412, "alias_moved", "The alias was moved meanwhile.")

    def _moved(self, name: str, alias: str, to: Mapping[str, Any], by: str) -> Response:
        aliases = self.adapters[name]["aliases"]
        made = {
            "object": "adapter.alias",
            "adapter": name,
            "alias": alias,
            "version": aliases.get(alias, {"version": 0})["version"] + 1,
            "targets": to["targets"],
            "sticky": to.get("sticky"),
            "guard": to.get("guard"),
            "since": CREATED_S,
            "by": by,
        }
        aliases[alias] = made
        self.histories.setdefault((name, alias), []).append(made)
        if alias == "live":
            self.adapters[name]["live"] = made["targets"][0]["revision"]
        return _answer(made, headers={"etag": f'"{made["version"]}"'})

    def _add(self, body: dict[str, Any]) -> Response:
        name = body["name"]
        if name in self.adapters:
            raise Fault(409, "adapter_exists", f"The adapter `{name}` exists already.")
        self._check_source(body["source"])
        self.adapters[name] = self._new(name, body["source"], pinned=body.get("pinned", False))
        return self._begin(name, body["source"], "live", wait=body.get("wait", True))

    def _content(self, name: str, body: dict[str, Any]) -> Response:
        self._get(name)
        self._check_source(body["source"])
        alias = body.get("alias", "live")
        return self._begin(name, body["source"], alias, wait=body.get("wait", True))

    def _check_source(self, source: str) -> None:
        if source.startswith("https://"):
            message = "Adapters may not come from this host."
            raise Fault(400, "adapter_invalid", message, "source_not_allowed")

    def _begin(self, name: str, source: str, alias: str | None, *, wait: bool) -> Response:
        adapter = self._get(name)
        if adapter["live"] is None:
            adapter["state"] = "staging"
        self.at_work[name] = ([*self.looks], source, alias)
        if wait:
            self._finish(name)
        return _answer(self._shown(name), 201 if wait else 202)

    def _look(self, name: str) -> dict[str, Any]:
        self._get(name)
        self.on_look()
        steps = self.at_work[name][0] if name in self.at_work else []
        if name in self.at_work and not steps:
            self._finish(name)
        return self._shown(name) | {"progress": steps.pop(0) if steps else None}

    def _finish(self, name: str) -> None:
        _steps, source, alias = self.at_work.pop(name)
        if self.refuse is None:
            return self._publish(name, source, alias)
        adapter = self._get(name)
        adapter["reason"], adapter["detail"] = self.refuse
        if adapter["live"] is None:
            adapter["state"] = "failed"
        return None

    def _publish(self, name: str, source: str, alias: str | None) -> None:
        adapter, revisions = self._get(name), self.versions.setdefault(name, [])
        number = self.known or len(revisions) + 1
        if number > len(revisions):
            revisions.append(_revision(number, source) | self.facts)
        adapter.update(state="ready", latest=len(revisions), revisions=len(revisions))
        now = adapter["aliases"].get(alias, {}).get("targets")
        if alias is not None and now != [{"revision": number, "weight": 1}]:
            targets = [{"revision": number, "weight": 1}]
            self._moved(name, alias, {"targets": targets}, "publish")

    def _new(self, name: str, source: str, *, pinned: bool) -> dict[str, Any]:
        return {
            "object": "adapter",
            "name": name,
            "created": CREATED_S,
            "state": "staging",
            "live": None,
            "latest": None,
            "revisions": 0,
            "pinned": pinned,
            "read_only": False,
            "source": {"kind": source.partition("://")[0], "location": source},
            "aliases": {},
            "progress": None,
        }

    def _get(self, name: str) -> dict[str, Any]:
        if name not in self.adapters:
            raise Fault(404, "model_not_found", f"The adapter `{name}` does not exist.", "model")
        return self.adapters[name]

    def _shown(self, name: str) -> dict[str, Any]:
        return dict(self._get(name))

    def _listed(self, request: Request, rows: list[dict[str, Any]]) -> Response:
        limit = int(request.args.get("limit", 100))
        if not 1 <= limit <= 1000:
            raise Fault(400, None, "`limit` is between 1 and 1000.", "limit")
        after = int(request.args.get("after", "c0")[1:])
        shown = list(itertools.islice(rows, after, after + min(limit, self.page)))
        end = after + len(shown)
        more = end < len(rows)
        listing = {"object": "list", "data": shown, "has_more": more}
        return _answer(listing | {"next": f"c{end}" if more else None})


def _valid(body: Any, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        jsonschema.validate(body, schema)
    except jsonschema.ValidationError as error:
        raise Fault(400, None, f"The body breaks the contract: {error.message}") from error
    found: dict[str, Any] = body
    return found


def _answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    shown = json.dumps(document)
    return Response(shown, status, headers, content_type="application/json")


def _revision(number: int, source: str) -> dict[str, Any]:
    return {
        "object": "adapter.revision",
        "number": number,
        "digest": "sha256:" + f"{number:02x}" * 32,
        "created": CREATED_S + number,
        "state": "ready",
        "size_bytes": 1_500_000,
        "rank": 16,
        "alpha": 32.0,
        "target_modules": ["q_proj", "v_proj"],
        "modules": 60,
        "base": "smollm2-135m-instruct",
        "dtype": "F32",
        "source": {"kind": source.partition("://")[0], "location": source},
        "effect": {"modules": 60, "largest_change": 0.25},
    }
