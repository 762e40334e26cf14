"""One tenant's prompts are nothing to another in the engine's prefix cache (row T3)."""

from typing import Any

import httpx
import pytest

from support.places import DEMO
from support.serving import Served, start_process

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

OPERATOR = "sk-operator"
PROMPT = " ".join(f"word{number}" for number in range(200))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tenants")
    environ = {"VENEER_SERVER__API_KEY": OPERATOR}
    with start_process(folder, roots=[DEMO], environ=environ) as served:
        yield served


def key(served: Served, tenant: str) -> str:
    sent = {"authorization": f"Bearer {OPERATOR}"}
    made = httpx.post(f"{served.url}/v1/keys", json={"tenant": tenant}, headers=sent)
    text: str = made.json()["key"]
    return text


def cached(served: Served, key: str, path: str, body: dict[str, Any]) -> int:
    sent = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{served.url}{path}", json=body, headers=sent, timeout=120)
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or usage
    found: int = details.get("cached_tokens", details.get("cache_read_input_tokens", 0)) or 0
    return found


CHAT = {"messages": [{"role": "user", "content": f"One {PROMPT}"}], "max_tokens": 1}
ENDPOINTS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": f"Two {PROMPT}", "max_tokens": 1},
    "/v1/responses": {"input": f"Three {PROMPT}", "max_output_tokens": 16},
}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "haiku"])
def test_a_tenant_finds_its_own_prompt_in_the_cache_and_no_other_does(
    served: Served, path: str, model: str
) -> None:
    body = {**ENDPOINTS[path], "model": model}
    name = f"{model}-{path.rpartition('/')[2]}"[:40]
    acme, bell = key(served, f"a-{name}"), key(served, f"b-{name}")
    assert cached(served, OPERATOR, path, body) == 0
    assert cached(served, acme, path, body) == 0
    assert cached(served, acme, path, body) > 0
    assert cached(served, key(served, f"a-{name}"), path, body) > 0, "another key of the tenant"
    assert cached(served, bell, path, body) == 0
    assert cached(served, OPERATOR, path, body) > 0


MORE = {
    **ENDPOINTS,
    "/v1/messages": {"messages": [{"role": "user", "content": f"Four {PROMPT}"}], "max_tokens": 4},
}


def used(answer: dict[str, Any]) -> tuple[int, int, int]:
    """Return the tokens that an answer says it read, found in the cache, and wrote."""
    usage = answer["usage"]
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    beside = usage.get("cache_read_input_tokens") or 0
    whole = beside + (usage.get("cache_creation_input_tokens") or 0)
    read = usage.get("prompt_tokens") or usage["input_tokens"] + whole
    written = usage.get("completion_tokens") or usage["output_tokens"]
    return read, details.get("cached_tokens") or beside, written


def test_usage_and_limits_count_what_the_real_engine_says_it_used(served: Served) -> None:
    operator = {"authorization": f"Bearer {OPERATOR}"}
    asked = {"tenant": "counted", "tpm": 1_000_000, "rpm": 1000}
    made = httpx.post(f"{served.url}/v1/keys", json=asked, headers=operator).json()
    sent = {"authorization": f"Bearer {made['key']}"}
    told = [0, 0, 0]
    for _ in range(2):
        for path, body in MORE.items():
            whole = {"model": "haiku", **body}
            answer = httpx.post(f"{served.url}{path}", json=whole, headers=sent, timeout=120)
            assert answer.status_code == 200, answer.text
            left = int(answer.headers["x-ratelimit-remaining-tokens"])
            # What flowed in since the start fills the bucket, so less than the estimate is gone.
            assert 1_000_000 - 2000 < left < 1_000_000, path
            told = [a + b for a, b in zip(told, used(answer.json()), strict=True)]
    query = f"keys={made['id']}&group_by=adapter&group_by=revision"
    page = httpx.get(f"{served.url}/v1/usage?{query}", headers=operator).json()
    [row] = [result for bucket in page["data"] for result in bucket["results"]]
    counted = [row["input_tokens"], row["input_cached_tokens"], row["output_tokens"]]
    assert counted == told
    assert told[1] > 0
    assert (row["adapter"], row["revision"], row["num_model_requests"]) == ("haiku", 1, 8)
