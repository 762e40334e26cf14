"""Answers as they are on the wire, for tests that look closer than a client does."""

import json
from typing import Any

import httpx

DONE = "[DONE]"


async def post(url: str, path: str, body: Any, **headers: str) -> httpx.Response:
    """Send ``body`` as JSON, or as it is when it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        named = {"content-type": "application/json", **headers}
        return await client.post(path, content=content, headers=named)


async def stream(url: str, path: str, body: dict[str, Any]) -> list[Any]:
    """Return the documents of a stream's events, ``[DONE]`` as it is."""
    response = await post(url, path, {**body, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response.text)


def events(text: str) -> list[Any]:
    """Return the documents of the events in ``text``; event names must equal their types."""
    found = []
    for event in text.split("\n\n")[:-1]:
        name, _, payload = event.rpartition("data: ")
        document = payload if payload == DONE else json.loads(payload)
        if name:
            assert name == f"event: {document['type']}\n"
        found.append(document)
    return found


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer in OpenAI's shape."""
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error
