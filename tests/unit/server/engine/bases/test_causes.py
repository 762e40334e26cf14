"""The first error of a start reaches the gateway, and no traceback the log."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from veneer_server.engine.vllm.bases.causes import (
    Cause,
    last_logged,
    note_causes,
    note_started,
    read_cause,
)

CORE, WORKER = "vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("vllm", CORE, WORKER)]
    before = [(logger, logger.level, list(logger.filters)) for logger in loggers]
    logging.getLogger("vllm").setLevel(logging.ERROR)
    yield
    for logger, level, filters in before:
        logger.setLevel(level)
        logger.filters = filters


def fail(logger: str, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logging.getLogger(logger).exception("It failed to start.")


def test_the_first_error_is_noted_and_not_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note_causes(tmp_path, is_core=False)
    fail(WORKER, ValueError("the reason"))
    fail(WORKER, RuntimeError("only that it failed"))
    assert read_cause(tmp_path) == Cause("ValueError", "the reason")
    assert not caplog.records


def test_the_engine_core_ends_with_its_first_error(tmp_path: Path) -> None:
    note_causes(tmp_path, is_core=True)
    with pytest.raises(SystemExit) as ended:
        fail(CORE, ValueError("the reason"))
    assert ended.value.code == 1


def test_after_the_start_errors_are_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note_causes(tmp_path, is_core=True)
    note_started(tmp_path)
    fail(CORE, ValueError("later"))
    assert read_cause(tmp_path) is None
    assert [record.message for record in caplog.records] == ["It failed to start."]


def test_who_asks_for_more_of_vllms_log_gets_the_traceback_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("vllm").setLevel(logging.INFO)
    note_causes(tmp_path, is_core=True)
    fail(CORE, ValueError("the reason"))
    assert read_cause(tmp_path) == Cause("ValueError", "the reason")
    assert caplog.records[0].exc_info


def test_records_without_an_error_are_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note_causes(tmp_path, is_core=True)
    logging.getLogger(CORE).error("something else")
    assert [record.message for record in caplog.records] == ["something else"]


def test_what_another_process_says_of_a_model_is_held_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = "vllm.model_executor.models.registry"
    said = "Error in subprocess:\nTraceback ...\nModuleNotFoundError: No module named 'x'\n"
    with last_logged() as logged:
        fail(registry, RuntimeError(said))
    assert logged == [Cause("ModuleNotFoundError", "No module named 'x'")]
    assert not caplog.records
    fail(registry, RuntimeError(said))
    assert caplog.records


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"kind": "E"}'])
def test_a_note_that_says_nothing_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cause.json").write_text(text)
    assert read_cause(tmp_path) is None
