"""What a key may not use does not exist for it, on every route."""

import itertools
import re
import time
from typing import Any

import httpx
import pytest

from support.batching import CHAT as CHAT_PATH
from support.batching import create, ended, line
from support.fine_tuning import JOBS
from support.fine_tuning import create as create_job
from support.fine_tuning import ended as job_ended
from tenancy.conftest import Tenants

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


async def ids(client: httpx.AsyncClient) -> set[str]:
    return {card["id"] for card in (await client.get("/v1/models")).json()["data"]}


async def test_each_tenant_sees_the_base_what_nobody_owns_and_its_own(tenants: Tenants) -> None:
    assert await ids(tenants.acme) == {"echo", "plain", "acme/own", "acme/new"}
    assert await ids(tenants.bell) == {"echo", "plain", "bell/own", "bell/secret-plan"}
    listed = (await tenants.acme.get("/v1/adapters")).json()["data"]
    assert {adapter["name"] for adapter in listed} == {"plain", "acme/own", "acme/new"}


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "Hi", "max_tokens": 4},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 16},
    "/v1/messages": CHAT,
    "/v1/messages/count_tokens": {"messages": CHAT["messages"]},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [1]},
}


FORMS = ("{}", "{}@live", "{}@1", "{}@sha256:0123456789ab", "echo:{}")


@pytest.mark.parametrize("path", BODIES)
async def test_another_tenants_adapter_is_answered_as_one_that_does_not_exist(
    tenants: Tenants, path: str
) -> None:
    streams = [{}, {"stream": True}] if "okenize" not in path and "count" not in path else [{}]
    for form, more in itertools.product(FORMS, streams):
        answers = []
        for name in ("bell/secret-plan", "bell/secret-plum"):
            body = {**BODIES[path], **more, "model": form.format(name)}
            answer = await tenants.acme.post(path, json=body)
            assert answer.status_code == 404, answer.text
            request_id = answer.headers["x-request-id"]
            answers.append(answer.text.replace(name, "NAME").replace(request_id, "ID"))
        assert answers[0] == answers[1]
        assert "own" not in answers[0]


async def test_close_matches_are_those_that_the_key_may_use(tenants: Tenants) -> None:
    asked = {**CHAT, "model": "acme/owm"}
    mine = (await tenants.acme.post("/v1/chat/completions", json=asked)).json()
    theirs = (await tenants.bell.post("/v1/chat/completions", json=asked)).json()
    assert "acme/own" in mine["error"]["message"]
    assert "acme/own" not in theirs["error"]["message"]


def on_name(path: str, name: str) -> str:
    return path.replace("{name}", name.replace("/", "%2F"))


ADMIN: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/models/{name}", None),
    ("DELETE", "/v1/models/{name}", None),
    ("GET", "/v1/adapters/{name}", None),
    ("PATCH", "/v1/adapters/{name}", {"pinned": True}),
    ("DELETE", "/v1/adapters/{name}", None),
    ("GET", "/v1/adapters/{name}/revisions", None),
    ("POST", "/v1/adapters/{name}/revisions", {"source": "hf://a/b"}),
    ("POST", "/v1/adapters/{name}/load", {}),
    ("POST", "/v1/adapters/{name}/unload", {}),
    ("GET", "/v1/adapters/{name}/aliases/live", None),
    ("PUT", "/v1/adapters/{name}/aliases/live", {"revision": 1}),
    ("DELETE", "/v1/adapters/{name}/aliases/live", None),
    ("POST", "/v1/adapters/{name}/aliases/live/rollback", {}),
    ("GET", "/v1/adapters/{name}/aliases/live/history", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ADMIN)
async def test_no_admin_route_tells_that_another_tenants_adapter_is_there(
    tenants: Tenants, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answers = []
    for name in ("bell/secret-plan", "bell/secret-plum"):
        answer = await tenants.acme.request(method, on_name(path, name), json=body)
        assert answer.status_code == 404, answer.text
        answers.append(answer.text.replace(name, "NAME"))
    assert answers[0] == answers[1]
    assert (await tenants.bell.get(on_name("/v1/adapters/{name}", "bell/secret-plan"))).is_success


@pytest.mark.parametrize(("method", "path", "body"), [a for a in ADMIN if a[0] != "GET"])
async def test_what_a_tenant_sees_and_does_not_own_it_cannot_change(
    tenants: Tenants, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = await tenants.acme.request(method, on_name(path, "plain"), json=body)
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "not_your_namespace"


@pytest.mark.parametrize("name", ["mine", "bell/own", "bell/none", "acme", "acmes/x"])
async def test_a_tenant_publishes_in_its_own_namespace_only(tenants: Tenants, name: str) -> None:
    source = str(tenants.served.adapters / "acme" / "own")
    for path, body in (
        ("/v1/adapters", {"name": name, "source": source}),
        ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": source}),
        (on_name("/v1/adapters/{name}/upload", name), {}),
    ):
        answer = await tenants.acme.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_your_namespace")


@pytest.mark.parametrize("where", ["plain", "bell/own", "acme/../bell/own", "acme/own/../../plain"])
async def test_a_tenant_publishes_and_checks_no_other_folders(tenants: Tenants, where: str) -> None:
    source = f"{tenants.served.adapters}/{where}"
    for path, body in (
        ("/v1/adapters", {"name": "acme/copy", "source": source}),
        ("/v1/adapters/acme%2Fown/revisions", {"source": source}),
        ("/v1/adapters/check", {"source": source}),
        ("/v1/load_lora_adapter", {"lora_name": "acme/copy", "lora_path": source}),
    ):
        answer = await tenants.acme.post(path, json=body)
        assert answer.status_code == 403, answer.text
        assert str(tenants.served.adapters) not in answer.text


async def test_a_tenant_publishes_from_its_own_folder(tenants: Tenants) -> None:
    source = str(tenants.served.adapters / "acme" / "own")
    made = await tenants.acme.post("/v1/adapters", json={"name": "acme/copy", "source": source})
    assert made.status_code == 201, made.text
    assert (await tenants.acme.delete("/v1/adapters/acme%2Fcopy")).is_success


async def test_a_variant_is_shared_by_its_name_without_telling_where_it_came_from(
    tenants: Tenants,
) -> None:
    guest = await tenants.key(
        tenant="acme",
        scopes=["infer", "models:read", "adapters:read"],
        adapters=["base", "acme/*", "bell/own"],
    )
    assert await ids(guest) == {"echo", "acme/own", "acme/new", "bell/own"}
    answer = await guest.post("/v1/chat/completions", json={**CHAT, "model": "bell/own"})
    assert answer.headers["x-veneer-adapter"].startswith("bell/own@1")
    shown = await guest.get("/v1/adapters/bell%2Fown")
    assert shown.json()["source"] is None
    assert str(tenants.served.adapters) not in shown.text
    listed = await guest.get("/v1/adapters/bell%2Fown/revisions")
    assert str(tenants.served.adapters) not in listed.text


async def test_a_key_without_the_base_gets_it_neither_by_name_nor_by_default(
    tenants: Tenants,
) -> None:
    key = await tenants.key(tenant="acme", adapters=["acme/*"])
    assert await ids(key) == {"acme/own", "acme/new"}
    for model in ({"model": "echo"}, {}, {"model": None}):
        answer = await key.post("/v1/chat/completions", json={**CHAT, **model})
        assert answer.status_code in (400, 404), answer.text
    assert (await key.get("/v1/models/echo")).status_code == 404


async def test_a_key_that_may_use_nothing_has_an_empty_list_in_both_shapes(
    tenants: Tenants,
) -> None:
    key = await tenants.key(tenant="acme", adapters=["nothing"])
    assert await ids(key) == set()
    listed = await key.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert listed.json()["data"] == []


async def test_stored_responses_and_conversations_belong_to_the_tenant(tenants: Tenants) -> None:
    second = await tenants.key(tenant="acme")
    made = await tenants.acme.post("/v1/responses", json={"input": "Hi", "model": "echo"})
    path = f"/v1/responses/{made.json()['id']}"
    assert (await second.get(path)).is_success, "another key of the same tenant"
    assert (await tenants.bell.get(path)).status_code == 404
    assert (await tenants.bell.delete(path)).status_code == 404
    talk = (await tenants.acme.post("/v1/conversations", json={})).json()["id"]
    assert (await tenants.bell.get(f"/v1/conversations/{talk}")).status_code == 404
    used = {"input": "Hi", "model": "echo", "previous_response_id": made.json()["id"]}
    assert (await tenants.bell.post("/v1/responses", json=used)).status_code == 400


async def test_files_belong_to_the_tenant(tenants: Tenants) -> None:
    second = await tenants.key(tenant="acme")
    sent = {"file": ("rows.jsonl", b"secret")}
    made = await tenants.acme.post("/v1/files", files=sent, data={"purpose": "batch"})
    path = f"/v1/files/{made.json()['id']}"
    assert (await second.get(f"{path}/content")).content == b"secret", "another key of the tenant"
    for answer in (
        await tenants.bell.get(path),
        await tenants.bell.get(f"{path}/content"),
        await tenants.bell.delete(path),
    ):
        assert answer.status_code == 404
        none = await tenants.bell.get("/v1/files/file-none")
        assert answer.text.replace(made.json()["id"], "file-none") == none.text
    for client, count in ((tenants.acme, 1), (tenants.bell, 0), (tenants.operator, 0)):
        assert len((await client.get("/v1/files")).json()["data"]) == count
    after = {"after": made.json()["id"]}
    assert (await tenants.bell.get("/v1/files", params=after)).status_code == 400


async def test_batches_belong_to_the_tenant_and_see_what_its_key_sees(tenants: Tenants) -> None:
    made = await create(tenants.acme, [line(1, "acme/own"), line(2, "echo")])
    path = f"/v1/batches/{made['id']}"
    for answer in (await tenants.bell.get(path), await tenants.bell.post(f"{path}/cancel")):
        assert answer.status_code == 404
        none = await tenants.bell.get("/v1/batches/batch_none")
        assert answer.text.replace(made["id"], "batch_none") == none.text
    assert (await tenants.bell.get("/v1/batches")).json()["data"] == []
    batch = await ended(tenants.acme, made["id"])
    assert batch["request_counts"]["completed"] == 2
    output = f"/v1/files/{batch['output_file_id']}/content"
    assert (await tenants.bell.get(output)).status_code == 404
    second = await tenants.key(tenant="acme")
    assert (await second.get(output)).is_success
    stolen = {"endpoint": CHAT_PATH, "completion_window": "24h"}
    stolen["input_file_id"] = made["input_file_id"]
    assert (await tenants.bell.post("/v1/batches", json=stolen)).status_code == 404
    theirs = await ended(tenants.acme, (await create(tenants.acme, [line(1, "bell/own")]))["id"])
    [fault] = theirs["errors"]["data"]
    assert fault["code"] == "model_not_found"


async def test_jobs_and_what_they_make_belong_to_the_tenant(tenants: Tenants) -> None:
    made = await create_job(tenants.acme)
    path = f"{JOBS}/{made['id']}"
    none = await tenants.bell.get(f"{JOBS}/ftjob-none")
    for answer in (
        await tenants.bell.get(path),
        await tenants.bell.get(f"{path}/events"),
        await tenants.bell.get(f"{path}/checkpoints"),
        *[await tenants.bell.post(f"{path}/{act}") for act in ("cancel", "pause", "resume")],
    ):
        assert answer.status_code == 404
        assert answer.text.replace(made["id"], "ftjob-none") == none.text
    assert (await tenants.bell.get(JOBS)).json()["data"] == []
    done = await job_ended(tenants.acme, made["id"])
    model, adapter = done["fine_tuned_model"], done["veneer"]["adapter"]
    assert (done["status"], done["organization_id"]) == ("succeeded", "acme")
    assert adapter.startswith("acme/ft-")
    assert (await tenants.acme.post(CHAT_PATH, json={**CHAT, "model": model})).is_success
    for name in (model, f"{model}:ckpt-step-20", adapter):
        theirs = await tenants.bell.post(CHAT_PATH, json={**CHAT, "model": name})
        assert theirs.status_code == 404
    results = f"/v1/files/{done['result_files'][0]}"
    assert (await tenants.bell.get(results)).status_code == 404
    stolen = {"model": "echo", "training_file": made["training_file"]}
    assert (await tenants.bell.post(JOBS, json=stolen)).status_code == 404


async def test_a_job_publishes_only_where_its_tenant_may(tenants: Tenants) -> None:
    asked = {"publish_to": "acme/made", "then": "live"}
    made = await create_job(tenants.acme, evaluation=asked)
    body = {"model": "echo", "training_file": "file-none", "evaluation": asked}
    stolen = await tenants.bell.post(JOBS, json=body)
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (403, "not_your_namespace")
    done = await job_ended(tenants.acme, made["id"])
    assert done["veneer"]["evaluation"]["better"] is True
    assert (await tenants.acme.post(CHAT_PATH, json={**CHAT, "model": "acme/made"})).is_success
    theirs = await tenants.bell.post(CHAT_PATH, json={**CHAT, "model": "acme/made"})
    assert theirs.status_code == 404


@pytest.mark.slow
async def test_a_batch_counts_for_its_key_waits_for_its_limits_and_ends_with_it(
    tenants: Tenants,
) -> None:
    asked = {"tenant": "acme", "scopes": ["infer"], "rpm": 60}
    made = (await tenants.operator.post("/v1/keys", json=asked)).json()
    client = tenants.client(made["key"])
    batch = await create(client, [line(number) for number in range(62)])
    assert (await ended(client, batch["id"]))["request_counts"]["completed"] == 62
    group = {"group_by": "key", "start_time": int(time.time()) - 3600}
    usage = (await tenants.operator.get("/v1/usage", params=group)).text
    assert made["id"] in usage
    many = await create(client, [line(number) for number in range(500)])
    assert (await tenants.operator.delete(f"/v1/keys/{made['id']}")).is_success
    mate = await tenants.key(tenant="acme")
    last = await ended(mate, many["id"])
    assert last["status"] == "failed"
    assert last["errors"]["data"][0]["code"] == "invalid_api_key"


async def test_an_idempotency_key_of_one_tenant_is_nothing_to_another(tenants: Tenants) -> None:
    answers = []
    for client, tenant in ((tenants.acme, "acme"), (tenants.bell, "bell")):
        source = str(tenants.served.adapters / tenant / "own")
        body = {"name": f"{tenant}/copy", "source": source}
        answers.append(
            await client.post("/v1/adapters", json=body, headers={"idempotency-key": "the-same"})
        )
    assert [answer.status_code for answer in answers] == [201, 201]


async def test_comparing_names_no_variant_of_another_tenant(tenants: Tenants) -> None:
    body = {**CHAT, "models": ["acme/own", "bell/secret-plan"], "stream": False}
    report = (await tenants.acme.post("/v1/veneer/compare", json=body)).json()
    first, second = report["variants"]
    assert first["error"] is None
    assert second["error"]["code"] == "model_not_found"
    assert not re.search("bell/own", str(second))
