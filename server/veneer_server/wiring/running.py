"""What works on batches and fine-tuning jobs."""

from collections.abc import Callable

from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.api.batches.answering import LineAnswers
from veneer_server.api.deps import Server
from veneer_server.batches.ordering import slots_for_cold
from veneer_server.batches.pace import Live, Room
from veneer_server.batches.records import Batch
from veneer_server.batches.runner import Runner
from veneer_server.batches.working.shared import Shared
from veneer_server.batches.working.slots import Slots
from veneer_server.batches.working.turns import Turns
from veneer_server.engine.sizing.sizes import Sizes
from veneer_server.serving.admission import Admission
from veneer_server.tenancy.principals import Principal
from veneer_server.training.jobs.hours import Hours
from veneer_server.training.jobs.runner import Runner as Training
from veneer_server.training.jobs.working.asking import ServedModels
from veneer_server.training.jobs.working.graders import PythonGraders
from veneer_server.training.jobs.working.offering import CatalogPublisher
from veneer_server.training.jobs.working.running import CHILD
from veneer_server.training.jobs.working.shared import Shared as TrainingShared


def build_runner(
    server: Server, sizes: Sizes, admission: Admission, is_warm: Callable[[str], bool]
) -> Runner:
    """Return what works on the batches, beside live traffic."""
    settings = server.settings
    most = settings.batches.concurrency or max(sizes.max_seqs // 2, 1)
    beside = settings.batches.beside or max(sizes.max_seqs // 32, 1)

    def who_is(batch: Batch) -> Principal | None:
        if batch.key is None:
            return Principal(owner=batch.owner)
        key = server.keyring.by_id(batch.key)
        return key.principal() if key else None

    shared = Shared(
        server.batches,
        LineAnswers(server.requests, server.kept.turns),
        Turns(
            lambda: Live(admission.live_waiting, admission.live_running),
            Room(most, min(beside, most)),
        ),
        Slots(is_warm, slots_for_cold(sizes.device_slots)),
        who_is,
        server.draining,
        settings.limits.max_body_bytes,
        server.metrics.batch_line,
    )
    runner = Runner(shared, days=settings.batches.days)
    server.metrics.observe_batches(runner.count)
    return runner


def build_training(server: Server, publisher: CatalogPublisher, sandbox: Sandbox) -> Training:
    """Return what works on the fine-tuning jobs, one at a time."""
    chosen = server.settings.training
    shared = TrainingShared(
        server.jobs,
        server.files,
        publisher,
        server.engine.model.id,
        chosen.command or CHILD,
        server.metrics.training,
        server.draining,
        ServedModels(server.requests, server.engine),
        chosen.evaluated_rows,
        PythonGraders(lambda: server.settings.training.graders, sandbox),
        Hours.parse(chosen.hours),
    )
    training = Training(shared, days=chosen.days)
    server.metrics.observe_jobs(training.count)
    return training
