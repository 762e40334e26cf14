"""The operator's Python graders, in processes that are thrown away."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from veneer_adapters.errors import AdapterError
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.training.evaluating.grading import GraderFailed


class PythonGraders:
    """See ``evaluating.grading.Score``. It blocks: call it in a thread."""

    def __init__(self, files: Callable[[], Mapping[str, Path]], sandbox: Sandbox) -> None:
        """Read the file that the settings name now, each time."""
        self._files = files
        self._sandbox = sandbox

    def __call__(self, name: str, pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Return the score of each pair (wanted, said), from 0 to 1.

        Raises:
            GraderFailed: there is no such grader any more, or it failed.
        """
        told = [({"output_text": said}, {"reference_answer": wanted}) for wanted, said in pairs]
        try:
            source = self._files()[name].read_text(encoding="utf-8")
            found = self._sandbox.grade(source, told)
        except (KeyError, OSError, ValueError) as error:
            raise GraderFailed(f"The grader {name} cannot be read.") from error
        except AdapterError as error:
            raise GraderFailed(
                f"The grader {name} crashed, or used too much time or memory."
            ) from error
        if found.failed is not None or len(found.scores) != len(pairs):
            raise GraderFailed(f"The grader {name} failed: {found.failed or 'scores are missing'}.")
        return found.scores
