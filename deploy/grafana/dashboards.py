"""The content of the dashboards: titles, descriptions, queries, units and limits.

Rule: a panel answers one question of the person on call, and its description says what to do.
Every query and every limit is here and in ``background``; ``panels`` knows Grafana's format.
"""

from typing import Any

from background import background
from panels import SOURCE, Panel, arranged, graph, row, stat, table
from queries import HERE, quantile, quantiles, rate, ratio, share, top

ONE = f'{HERE},adapter=~"$adapter"'
_REQUESTS, _TTFT = "veneer_requests_total", "veneer_time_to_first_token_seconds"
_ITL, _LOAD = "veneer_inter_token_latency_seconds", "veneer_adapter_load_seconds"
_TOKENS, _COLD = "veneer_tokens_total", "veneer_adapter_cold_starts_total"
_FAILED = f'{HERE},outcome="failed"'
_OUTPUT = f'{HERE},direction="output"'


def overview() -> list[Panel]:
    """Return the panels that show within ten seconds whether all is well."""
    failed = share(rate(_REQUESTS, where=_FAILED), rate(_REQUESTS))
    return [
        stat("Engine", "1 while every engine can serve. If it is 0, see the runbook.",
             f"min(veneer_engine_up{{{HERE}}})", "none", limits=[1], low_is_bad=True),
        stat("Requests", "Requests that ended, per second.", rate(_REQUESTS), "reqps"),
        stat("Failed", "Share of requests that failed because of the server.", failed,
             "percentunit", limits=[0.001, 0.01]),
        stat("First token, 95 %", "95 of 100 streams have their first token within this time.",
             quantile(0.95, _TTFT), "s", limits=[1, 2.5]),
        stat("Gap, 95 %", "95 of 100 gaps between two tokens are no longer than this.",
             quantile(0.95, _ITL), "s", limits=[0.1, 0.25]),
        stat("Written", "Tokens written per second.", rate(_TOKENS, where=_OUTPUT), "none"),
        stat("In flight", "Requests that have not ended; waiting ones count too.",
             f"sum(veneer_requests_in_flight{{{HERE}}})", "none"),
        stat("Broken adapters", "Adapters that cannot serve. GET /v1/models says why.",
             f'sum(veneer_adapters{{{HERE},state="failed"}})', "none", limits=[1]),
        row("Requests"),
        graph("Requests by outcome", "If many fail, find their adapter on the Variants dashboard.",
              "reqps", (rate(_REQUESTS, by="outcome"), "{{outcome}}"), stacked=True),
        graph("Errors by code", "Requests that got an error. docs/api.md explains the codes.",
              "reqps", (rate("veneer_refusals_total", by="reason"), "{{reason}}"), stacked=True),
        graph("In flight", "If it rises and requests end no faster, the server is overloaded.",
              "none",
              (f"sum by (instance) (veneer_requests_in_flight{{{HERE}}})", "{{instance}}")),
        graph("First token", "From accepted to the first token of a stream.", "s",
              *quantiles(_TTFT),
              limits=[1, 2.5]),
        graph("Gap between tokens", "Above the limit, people who read along notice it.", "s",
              *quantiles(_ITL),
              limits=[0.1, 0.25]),
        graph("Whole request, 95 %", "From accepted to the end of the answer, by endpoint.", "s",
              (quantile(0.95, "veneer_request_duration_seconds", by="endpoint"), "{{endpoint}}")),
        graph("Tokens", "Tokens read and written per second.", "none",
              (rate(_TOKENS, by="direction"), "{{direction}}")),
        graph("Wait before the engine, 95 %", "Cold starts only. If it rises, add device slots.",
              "s",
              (quantile(0.95, "veneer_queue_seconds", by="reason"), "{{reason}}"), limits=[1, 5]),
        graph("Cold starts", "Waits for a load, as a share of the requests.", "percentunit",
              (share(rate(_COLD), rate(_REQUESTS)), "cold"), limits=[0.05, 0.2]),
    ]  # fmt: skip


def variants() -> list[Panel]:
    """Return the panels that compare the adapters with each other."""
    by = "adapter"
    served = rate(_REQUESTS, by=by, where=ONE)
    failed = rate(_REQUESTS, by=by, where=f'{ONE},outcome="failed"')
    failing = ratio(f"{failed} or {served} * 0", served)
    written = rate(_TOKENS, by=by, where=f'{ONE},direction="output"')
    ttft = quantile(0.95, _TTFT, by=by, where=ONE)
    itl = quantile(0.95, _ITL, by=by, where=ONE)
    cold = rate(_COLD, by=by, where=ONE)
    held = f'sum by (adapter) (veneer_adapter_resident{{{ONE},level="device"}})'
    return [
        table("Adapters", "Click a name to see it alone. __other__ is all adapters beyond the"
              " first 200.", [
            ("Requests/s", served, "reqps", ()),
            ("Failed", failing, "percentunit", (0.001, 0.01)),
            ("First token 95 %", ttft, "s", (1, 2.5)),
            ("Gap 95 %", itl, "s", (0.1, 0.25)),
            ("Tokens/s written", written, "none", ()),
            ("Cold starts/s", cold, "ops", ()),
            ("In device slots", held, "none", ()),
        ]),
        graph("Busiest", "Adapters with the most requests.", "reqps", (top(served), "{{adapter}}"),
              stacked=True),
        graph("Failing most", "Share of each adapter's requests that failed. If only one adapter"
              " fails, look at its last revision.", "percentunit", (top(failing), "{{adapter}}"),
              limits=[0.01, 0.1]),
        graph("Most tokens", "Tokens written per second.", "none", (top(written), "{{adapter}}"),
              stacked=True),
        graph("Slowest first token, 95 %", "If there are cold starts too, requests wait for a"
              " load.", "s",
              (top(ttft), "{{adapter}}"), limits=[1, 2.5]),
        graph("Widest gap, 95 %", "A larger rank costs more time in each step.", "s",
              (top(itl), "{{adapter}}"), limits=[0.1, 0.25]),
        graph("Cold starts", "Waits for a load. If one adapter often has them, pin it.", "ops",
              (top(cold), "{{adapter}}"), stacked=True),
        row("Slots and loads"),
        graph("Device slots", "If none is free for long, more adapters are in use than fit.",
              "none",
              (f'sum by (state) (veneer_adapter_slots{{{HERE},level="device"}})', "{{state}}"),
              stacked=True),
        graph("Host slots", "Adapters in memory, ready to be copied into a device slot.", "none",
              (f'sum by (state) (veneer_adapter_slots{{{HERE},level="host"}})', "{{state}}"),
              stacked=True),
        graph("In device slots", "Adapters in device slots. If they come and go, they evict each"
              " other.", "none", (top(held), "{{adapter}}"), stacked=True),
        graph("Load time by stage, 95 %", "Requests for the adapter wait this long.", "s",
              (quantile(0.95, _LOAD, by="stage"), "{{stage}}"), width=6),
        graph("Time spent on loads", "Seconds of work per second, by stage.", "percentunit",
              (rate(f"{_LOAD}_sum", by="stage"), "{{stage}}"), stacked=True, width=6),
        graph("Loads", "From disk or from a host slot. The log says why a load failed.", "ops",
              (rate("veneer_adapter_loads_total", by="source, outcome"), "{{source}} {{outcome}}"),
              stacked=True, width=6),
        graph("Evictions", "room: another adapter needed the slot.", "ops",
              (rate("veneer_adapter_evictions_total", by="level, reason"), "{{level}} {{reason}}"),
              stacked=True, width=6),
    ]  # fmt: skip


def tenants() -> list[Panel]:
    """Return the panels that show what each tenant gets, and who waits."""
    by = "tenant"
    served = rate("veneer_tenant_requests_total", by=by)
    failed = rate("veneer_tenant_requests_total", by=by, where=_FAILED)
    failing = ratio(f"{failed} or {served} * 0", served)
    written = rate("veneer_tenant_tokens_total", by=by, where=_OUTPUT)
    read = rate("veneer_tenant_tokens_total", by=by, where=f'{HERE},direction="input"')
    waits = quantile(0.95, "veneer_tenant_queue_seconds", by=by)
    refused = rate("veneer_tenant_refusals_total", by=by)
    return [
        table("Tenants", "__operator__ is everybody without a tenant, __other__ all tenants beyond"
              " the first 200.", [
            ("Requests/s", served, "reqps", ()),
            ("Failed", failing, "percentunit", (0.001, 0.01)),
            ("Wait 95 %", waits, "s", (5, 10)),
            ("Refused/s", refused, "reqps", ()),
            ("Tokens/s read", read, "none", ()),
            ("Tokens/s written", written, "none", ()),
        ], by=by),
        graph("Requests", "Requests that ended, per second.", "reqps", (served, "{{tenant}}"),
              stacked=True),
        graph("Tokens written", "When many wait, everybody gets a fair share of these.", "none",
              (written, "{{tenant}}"), stacked=True),
        graph("Wait for a turn, 95 %", "If it rises for one tenant, that one sends more than its"
              " share. If it rises for all, the server is too small.", "s",
              (waits, "{{tenant}}"), limits=[5, 10]),
        graph("Refused, by code", "rate_limit_exceeded: its limits are too low, or its clients too"
              " eager.", "reqps",
              (rate("veneer_tenant_refusals_total", by="tenant, reason"),
               "{{tenant}} {{reason}}"), stacked=True),
    ]  # fmt: skip


def engine() -> list[Panel]:
    """Return the panels of vLLM's own metrics and of the process's."""
    hits = ratio(rate("vllm:prefix_cache_hits_total"), rate("vllm:prefix_cache_queries_total"))
    return [
        graph("Sequences", "If sequences wait for long, there are more requests than"
              " limits.max_seqs or the KV cache allows.", "none",
              (f"sum(vllm:num_requests_running{{{HERE}}})", "running"),
              (f"sum(veneer_sequences_waiting{{{HERE}}})", "waiting for their turn"),
              (f"sum(vllm:num_requests_waiting{{{HERE}}})", "waiting in the engine")),
        graph("KV cache", "Near 1, requests wait or are preempted: raise engine.kv_cache_gib.",
              "percentunit", (f"max by (instance) (vllm:kv_cache_usage_perc{{{HERE}}})",
                              "{{instance}}"), limits=[0.8, 0.95]),
        graph("Prefix cache hits", "Share of prompt tokens that came from the cache.",
              "percentunit", (hits, "hits")),
        graph("Tokens", "As vLLM counts them.", "none",
              (rate("vllm:prompt_tokens_total"), "prompt"),
              (rate("vllm:generation_tokens_total"), "generated")),
        graph("Preemptions", "Sequences that were stopped and computed again, because the KV cache"
              " was full.", "ops",
              (rate("vllm:num_preemptions_total"), "preempted")),
        graph("Wait inside the engine", "From the engine's queue to the first step.", "s",
              *quantiles("vllm:request_queue_time_seconds")),
        graph("Prefill", "Time to read a prompt.", "s",
              *quantiles("vllm:request_prefill_time_seconds")),
        graph("Gap between tokens", "As vLLM measures it. Compare it with Overview.", "s",
              *quantiles("vllm:inter_token_latency_seconds")),
        graph("Restarts", "Engines that were lost and started again in the last hour, by why.",
              "none",
              (f"sum by (reason) (increase(veneer_engine_restarts_total{{{HERE}}}[1h]))",
               "{{reason}}")),
        row("Server process"),
        graph("CPU", "Cores that the gateway uses, without the engine's processes.", "none",
              (f"sum by (instance) (rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]))",
               "{{instance}}")),
        graph("Memory", "Resident memory of the gateway.", "bytes",
              (f"sum by (instance) (process_resident_memory_bytes{{{HERE}}})", "{{instance}}")),
        graph("Open files", "Connections and files. Near the limit, new ones fail.", "none",
              (f"sum by (instance) (process_open_fds{{{HERE}}})", "{{instance}}")),
    ]  # fmt: skip


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "A"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _variables(*, with_adapters: bool) -> list[dict[str, Any]]:
    job = _variable("job", "Job", "label_values(veneer_build_info, job)")
    instance = _variable(
        "instance", "Instance", 'label_values(veneer_build_info{job=~"$job"}, instance)'
    )
    found = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        job,
        instance,
    ]
    if with_adapters:
        names = f"label_values({_REQUESTS}{{{HERE}}}, adapter)"
        found.append(_variable("adapter", "Adapter", names))
        current = {"text": "10", "value": "10"}
        found.append(
            {"name": "top", "label": "Top", "type": "custom", "query": "5,10,20,50",
             "current": current}
        )  # fmt: skip
    return found


def _dashboard(uid: str, title: str, about: str, panels: list[Panel]) -> dict[str, Any]:
    started = f"changes(process_start_time_seconds{{{HERE}}}[1m]) > 0"
    back = f"increase(veneer_alias_rollbacks_total{{{HERE}}}[1m]) > 0"
    return {
        "uid": f"veneer-{uid}",
        "title": f"Veneer / {title}",
        "description": about,
        "tags": ["veneer"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "tags": ["veneer"], "title": "Veneer", "asDropdown": False,
             "includeVars": True, "keepTime": True},
        ],
        "annotations": {"list": [
            {"name": "Restarts", "enable": True, "datasource": SOURCE, "expr": started,
             "iconColor": "purple", "titleFormat": "{{instance}} was restarted"},
            {"name": "Canaries taken back", "enable": True, "datasource": SOURCE, "expr": back,
             "iconColor": "orange", "titleFormat": "canary of {{adapter}}: {{reason}}"},
        ]},
        "templating": {"list": _variables(with_adapters=uid == "variants")},
        "panels": arranged(panels),
    }  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """Return each dashboard by the name of its file."""
    return {
        "overview": _dashboard("overview", "Overview", "Is all well?", overview()),
        "variants": _dashboard("variants", "Variants", "How does each adapter do?", variants()),
        "tenants": _dashboard("tenants", "Tenants", "Who gets what, and who waits?", tenants()),
        "background": _dashboard(
            "background", "Batches and training", "What runs beside live requests?", background()
        ),
        "engine": _dashboard("engine", "Engine", "What does vLLM do?", engine()),
    }
