"""The routes of training: a file goes up, a job is made and followed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from veneer_server.commands.client.documents import Evaluation, _Answer
from veneer_server.commands.client.failures import BadArgument
from veneer_server.commands.client.routes import _Api

_JOBS, _PAGE = "/v1/fine_tuning/jobs", 100


class Failure(_Answer):
    """Why a job failed."""

    message: str
    code: str | None = None


class Told(_Answer):
    """What the server says of a job beside OpenAI's members."""

    paused: bool = False
    step: int = 0
    total_steps: int = 0
    evaluation: Evaluation | None = None


class Asked(_Answer):
    """What a better model was asked to become."""

    publish_to: str | None = None
    then: str | None = None


class Job(_Answer):
    """A fine-tuning job."""

    id: str
    status: str
    model: str
    fine_tuned_model: str | None = None
    estimated_finish: int | None = None
    error: Failure | None = None
    evaluation: Asked = Asked()
    veneer: Told = Told()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ("succeeded", "failed", "cancelled")


class Event(_Answer):
    """Something that was said of a job."""

    id: str
    message: str
    level: str = "info"
    data: dict[str, Any] = Field(default_factory=dict)


class Events(_Answer):
    """A page of events, the newest first."""

    data: list[Event]
    has_more: bool = False


class TrainingApi(_Api):
    """The files and fine-tuning jobs of a server. Every method raises ``ClientError``."""

    def base(self) -> str:
        """Return the name of the base model."""
        cards = self._connection.get("/v1/models").get("data", [])
        found = [card["id"] for card in cards if card.get("parent") is None]
        if not found:
            raise BadArgument("The server lists no base model for this key; name one with --model.")
        return str(found[0])

    def upload(self, path: Path) -> str:
        """Send a file of rows; return its id."""
        return str(self._connection.upload("/v1/files", [path], {"purpose": "fine-tune"})["id"])

    def create(self, body: Mapping[str, Any]) -> Job:
        """Make a job; the server looks at the whole file before it answers."""
        return self._to(Job, self._connection.post(_JOBS, body, repeat=False))

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        return self._to(Job, self._connection.get(f"{_JOBS}/{job_id}"))

    def cancel(self, job_id: str) -> Job:
        """End a job."""
        return self._to(Job, self._connection.post(f"{_JOBS}/{job_id}/cancel", repeat=False))

    def events_since(self, job_id: str, known: str | None) -> list[Event]:
        """Return what was said after the event ``known``, the oldest first; None for all."""
        found: list[Event] = []
        params: dict[str, Any] = {"limit": _PAGE}
        while True:
            path = f"{_JOBS}/{job_id}/events"
            page = self._to(Events, self._connection.get(path, params))
            for event in page.data:
                if event.id == known:
                    return found[::-1]
                found.append(event)
            if not page.has_more or not page.data:
                return found[::-1]
            params["after"] = page.data[-1].id

    def compare(self, models: list[str], question: str) -> list[dict[str, Any]]:
        """Return what each of ``models`` answers to ``question``."""
        messages = [{"role": "user", "content": question}]
        asked = {"models": models, "messages": messages, "max_tokens": 128, "temperature": 0}
        found = self._connection.post("/v1/veneer/compare", {**asked, "stream": False})
        variants: list[dict[str, Any]] = found["variants"]
        return variants
