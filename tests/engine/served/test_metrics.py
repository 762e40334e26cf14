"""What /metrics says of the real engine, and what a routing gateway reads from it."""

import re

import httpx
import pytest

from support.serving import Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

BASE = "smollm2-135m-instruct"


def ask(client: httpx.Client, model: str) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 8,
        "ignore_eos": True,
        "stream": True,
    }
    client.post("/v1/chat/completions", json=body, timeout=120).raise_for_status()


def test_the_gateway_extensions_metrics_are_there_and_stay_one_series_each(
    engine_server: Served,
) -> None:
    with httpx.Client(base_url=engine_server.url) as client:
        for model in ("pirate", "haiku", BASE, "pirate"):
            ask(client, model)
        page = client.get("/metrics").text
    for name in ("vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
        assert len(re.findall(rf"^{name}{{", page, re.MULTILINE)) == 1
    [line] = re.findall(r"^vllm:lora_requests_info.*$", page, re.MULTILINE)
    running = re.search(r'running_lora_adapters="([^"]*)"', line)
    assert running is not None
    assert {"pirate", "haiku"} <= set(running[1].split(","))


def test_tokens_of_each_adapter_add_up_to_what_the_engine_counted(engine_server: Served) -> None:
    def count(page: str, metric: str) -> float:
        return sum(float(v) for v in re.findall(rf"^{metric} (\S+)$", page, re.MULTILINE))

    ours = r'veneer_tokens_total{adapter="[^"]*",direction="output"}'
    theirs = r"vllm:generation_tokens_total{[^}]*}"
    with httpx.Client(base_url=engine_server.url) as client:
        before = client.get("/metrics").text
        for model in ("pirate", BASE):
            ask(client, model)
        after = client.get("/metrics").text
    assert count(after, ours) - count(before, ours) == 16
    assert count(after, theirs) - count(before, theirs) == 16
