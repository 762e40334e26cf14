"""What owners keep between requests: conversations, files, batches and jobs."""

from veneer_adapters.catalog.database import Database
from veneer_adapters.names import OPERATOR
from veneer_server.api.official.answers.response_events import to_last
from veneer_server.api.official.bounds import MOST_ITEMS
from veneer_server.batches.batches import Batches
from veneer_server.batches.batches import Bounds as BatchBounds
from veneer_server.batches.folders import Folders
from veneer_server.conversations.keeping import Bounds, Kept
from veneer_server.files.contents import Contents
from veneer_server.files.files import Bounds as FileBounds
from veneer_server.files.files import Files
from veneer_server.settings import Settings
from veneer_server.training.jobs.folders import Folders as JobFolders
from veneer_server.training.jobs.jobs import Jobs
from veneer_server.training.jobs.preparing import Preparing
from veneer_server.training.jobs.starting import Starts
from veneer_server.training.jobs.trainable import find_trainable
from veneer_server.wiring.parts import Given
from veneer_server.wiring.places import files_folder, jobs_folder


def build_kept(settings: Settings, database: Database) -> Kept:
    """Return the responses and conversations that are kept between requests."""
    kept = settings.conversations
    bounds = Bounds(max_items=MOST_ITEMS, **kept.model_dump(exclude={"store"}))
    return Kept.within(bounds, database, to_last, by_default=kept.store)


def build_files(settings: Settings, database: Database) -> Files:
    """Return the files that clients upload."""
    bounds = FileBounds(**settings.files.model_dump(exclude={"dir"}))
    return Files(database, Contents(files_folder(settings)), bounds)


def build_batches(settings: Settings, database: Database, files: Files) -> Batches:
    """Return the batches; ``build_runner`` has what works on them."""
    bounds = BatchBounds(**settings.batches.model_dump(exclude={"beside", "concurrency", "days"}))
    folders = Folders(files_folder(settings) / "batches")
    return Batches(database, files, folders, bounds)


def build_jobs(given: Given, files: Files, starts: Starts) -> Jobs:
    """Return the fine-tuning jobs; ``build_training`` has what works on them."""
    settings = given.settings
    folders = JobFolders(jobs_folder(settings))
    return Jobs(
        given.database,
        folders,
        Preparing(files, folders),
        lambda: find_trainable(settings, given.engine),
        starts,
        unfinished=settings.training.unfinished,
        organization=OPERATOR,
    )
