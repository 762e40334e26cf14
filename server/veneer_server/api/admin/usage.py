"""What was used, in the shape of OpenAI's usage API, which its official client reads."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams

from veneer_server.accounting.queries import (
    MOST_ROWS,
    WIDTHS,
    Group,
    Question,
    Sums,
    Width,
    buckets,
)
from veneer_server.api.deps import PrincipalDep, ServerDep, needs
from veneer_server.api.errors import InvalidRequest
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.USAGE)])

_LATEST = 10**10
_LONGEST_NAME = 256
_OPENAIS = {"project_id": Group.TENANT, "api_key_id": Group.KEY, "model": Group.ADAPTER}
_FILTERS = {
    "tenants": Group.TENANT,
    "project_ids": Group.TENANT,
    "keys": Group.KEY,
    "api_key_ids": Group.KEY,
    "adapters": Group.ADAPTER,
    "models": Group.ADAPTER,
}
_KNOWN = {"start_time", "end_time", "bucket_width", "group_by", "limit", "page", *_FILTERS}


@router.get("/v1/usage")
@router.get("/v1/organization/usage/completions")
async def show_usage(request: Request, server: ServerDep, who: PrincipalDep) -> dict[str, Any]:
    """Return the sums of what was used: one bucket for each day, hour or minute.

    For the key of a tenant there is nothing but what this tenant used.
    """
    question, page_end = to_question(request.query_params, int(time.time()))
    found = await server.ledger.sums(question.within(who.reads_usage_of()))
    if len(found) > MOST_ROWS:
        raise InvalidRequest(
            f"The answer has more than {MOST_ROWS} results; ask for a shorter time or fewer"
            " groups.",
            param="group_by",
        )
    by_bucket: dict[int, list[Sums]] = {}
    for sums in found:
        by_bucket.setdefault(sums.bucket, []).append(sums)
    edges = buckets(question.begin, question.end, question.width_s)
    return {
        "object": "page",
        "data": [_bucket(each, by_bucket, question.width_s) for each in edges],
        "has_more": page_end > question.end,
        "next_page": str(question.end) if page_end > question.end else None,
    }


def to_question(query: QueryParams, now: int) -> tuple[Question, int]:
    """Return what ``query`` asks for on this page, and where its last page ends.

    Raises:
        InvalidRequest: a parameter is unknown, or has an impossible value.
    """
    given = {name.removesuffix("[]"): query.getlist(name) for name in query}
    if unknown := given.keys() - _KNOWN:
        name = min(unknown)[:100]
        raise InvalidRequest(f"Unknown parameter: {name!r}.", param=name)
    name = query.get("bucket_width", "1d")
    width = WIDTHS.get(name)
    if width is None:
        raise InvalidRequest("'bucket_width' must be 1m, 1h or 1d.", param="bucket_width")
    limit = _number(query, "limit", width.usual, most=width.most)
    end = _number(query, "end_time", now + 1)
    first = (end // width.seconds - (limit - 1)) * width.seconds
    begin = _number(query, "page", _number(query, "start_time", max(first, 0)))
    if begin >= end:
        raise InvalidRequest("'start_time' must be before 'end_time'.", param="start_time")
    page_end = min(_page_end(begin, limit, width), end)
    groups = tuple(dict.fromkeys(_group(text) for text in given.get("group_by", [])))
    only = tuple((_FILTERS[name], _names(name, given)) for name in _FILTERS if name in given)
    return Question(begin, page_end, width.seconds, groups, only), end


def _page_end(begin: int, limit: int, width: Width) -> int:
    return (begin // width.seconds + limit) * width.seconds


def _number(query: QueryParams, name: str, default: int, most: int = _LATEST) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > len(str(_LATEST)) or not 1 <= int(text) <= most:
        raise InvalidRequest(f"'{name}' must be a number from 1 to {most}.", param=name)
    return int(text)


def _names(param: str, given: Mapping[str, list[str]]) -> tuple[str, ...]:
    for name in given[param]:
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise InvalidRequest(f"'{param}' has something that is no name.", param=param)
    return tuple(given[param])


def _group(text: str) -> Group:
    if text in _OPENAIS:
        return _OPENAIS[text]
    try:
        return Group(text)
    except ValueError as error:
        known = ", ".join((*Group, *_OPENAIS))
        raise InvalidRequest(f"'group_by' must be among {known}.", param="group_by") from error


def _bucket(
    edges: tuple[int, int], found: Mapping[int, list[Sums]], width_s: int
) -> dict[str, Any]:
    begin, end = edges
    results = [_result(sums) for sums in found.get(begin // width_s * width_s, [])]
    return {"object": "bucket", "start_time": begin, "end_time": end, "results": results}


def _result(sums: Sums) -> dict[str, Any]:
    groups = {str(group): sums.group.get(group) for group in Group}
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": sums.input_tokens,
        "input_cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": sums.requests,
        **{name: groups[group] for name, group in _OPENAIS.items()},
        "user_id": None,
        "batch": None,
        "service_tier": None,
        **groups,
        "queue_seconds": round(sums.queue_s, 6),
        "cold_start_seconds": round(sums.cold_start_s, 6),
        "total_seconds": round(sums.total_s, 6),
    }
