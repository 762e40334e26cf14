"""What an upload may say of its file."""

import pytest

from veneer_server.files.errors import FileRefused
from veneer_server.files.records import UPLOADED, Purpose
from veneer_server.files.rules import lasts_of, name_of, purpose_of

DAY_S = 24 * 3600


@pytest.mark.parametrize("purpose", UPLOADED)
def test_an_upload_may_have_these_purposes(purpose: Purpose) -> None:
    assert purpose_of(str(purpose)) is purpose


@pytest.mark.parametrize("given", [None, "", "batch_output", "assistants", "Batch", "x" * 5000])
def test_any_other_purpose_is_refused_by_name(given: str | None) -> None:
    with pytest.raises(FileRefused) as found:
        purpose_of(given)
    assert found.value.param == "purpose"
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("rows.jsonl", "rows.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\rows.jsonl", "rows.jsonl"),
        ("a\0b\n.jsonl", "a?b?.jsonl"),
        ("x" * 300 + ".jsonl", "x" * 249 + ".jsonl"),
        (None, "upload"),
        ("folder/", "upload"),
    ],
)
def test_a_name_is_the_last_part_of_what_was_sent_and_printable(
    given: str | None, name: str
) -> None:
    assert name_of(given) == name


def form(anchor: str | None = "created_at", seconds: str | None = "3600") -> dict[str, str]:
    found = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    return {name: value for name, value in found.items() if value is not None}


def test_a_file_goes_as_many_seconds_after_it_was_made_as_was_asked() -> None:
    assert lasts_of(form(), Purpose.FINE_TUNE) == 3600


def test_without_a_word_files_of_batches_stay_30_days_and_all_others_until_deleted() -> None:
    assert lasts_of({}, Purpose.BATCH) == 30 * DAY_S
    assert lasts_of({}, Purpose.FINE_TUNE) is None


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (form(anchor="now"), "expires_after.anchor"),
        (form(anchor=None), "expires_after.anchor"),
        (form(seconds=None), "expires_after.seconds"),
        (form(seconds="soon"), "expires_after.seconds"),
        (form(seconds="3599"), "expires_after.seconds"),
        (form(seconds=str(30 * DAY_S + 1)), "expires_after.seconds"),
        (form(seconds="9" * 5000), "expires_after.seconds"),
    ],
)
def test_an_expiry_out_of_bounds_or_by_halves_is_refused(given: dict[str, str], param: str) -> None:
    with pytest.raises(FileRefused) as found:
        lasts_of(given, Purpose.BATCH)
    assert found.value.param == param
