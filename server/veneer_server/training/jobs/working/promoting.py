"""A model that is better gets the name for which it was made, as far as that was asked for."""

import structlog

from veneer_adapters.errors import AdapterError
from veneer_server.training.evaluating.asked import Then, read
from veneer_server.training.evaluating.verdicts import Comparison
from veneer_server.training.folder import JobFolder
from veneer_server.training.jobs.records import Event, FineTuningJob
from veneer_server.training.jobs.working.shared import Shared

logger = structlog.get_logger(__name__)


async def promote(
    job: FineTuningJob, found: Comparison | None, folder: JobFolder, shared: Shared
) -> list[Event]:
    """Publish the last checkpoint under the name that was asked for; return what to say of it.

    The job succeeds whatever happens here, and what was live stays live unless this says so.
    """
    asked = read(job.recipe.evaluation)
    name, then = asked.publish_to, asked.then or Then.NOTHING
    if name is None or then is Then.NOTHING:
        return []
    if found is None or not found.better:
        why = "it could not be measured" if found is None else "it is not better"
        return [Event(f"Not published to {name}, because {why}", "warn")]
    last = folder.complete()[-1]
    try:
        said = await shared.publisher.promote(job, last.adapter, folder.path, name, then)
    except AdapterError as error:
        logger.warning("model not published", job=job.id, name=name, why=str(error))
        return [Event(f"Not published to {name}: {error}", "warn")]
    return [Event(said)]
