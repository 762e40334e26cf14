"""What the models of a job are called. Pure; ``veneer_adapters.names`` reads these names.

    ft:<base>:<organization>:<suffix>:<8 characters>                    the last checkpoint
    ft:<base>:<organization>:<suffix>:<8 characters>:ckpt-step-<step>   one of them

They mean the adapter ``ft-<8 characters>``, in the tenant's namespace.
"""

from veneer_adapters.names import OPERATOR
from veneer_server.training.jobs.errors import TrainingImpossible
from veneer_server.training.jobs.records import FineTuningJob


def adapter_of(tenant: str | None, short_id: str) -> str:
    """Return the name of a job's adapter.

    Raises:
        TrainingImpossible: the tenant is called as the operator is in such names.
    """
    if tenant == OPERATOR:
        raise TrainingImpossible(
            f"A tenant called '{OPERATOR}' cannot train: in the names of trained models this word"
            " stands for the operator of the server."
        )
    return f"ft-{short_id}" if tenant is None else f"{tenant}/ft-{short_id}"


def model_of(base: str, job: FineTuningJob) -> str:
    """Return the name of what ``job`` has made."""
    short_id = job.adapter.rpartition("ft-")[2]
    suffix = job.recipe.suffix or ""
    return f"ft:{base}:{job.tenant or OPERATOR}:{suffix}:{short_id}"


def alias_of(step: int) -> str:
    """Return the alias of the checkpoint of ``step``."""
    return f"ckpt-step-{step}"
