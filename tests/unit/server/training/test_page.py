"""docs/training.md says what the code does."""

import json
import re
from pathlib import Path

from support.places import REPOSITORY
from support.tables import rows
from veneer_server.training.job import Job, Lora, Means
from veneer_server.training.rows import bounds

PAGE = "docs/training.md"


def documented() -> dict[str, str]:
    """Return each member of job.json with the default that the page says."""
    found: dict[str, str] = {}
    for names, defaults, _ in rows(PAGE, "member of `job.json`"):
        named, given = re.findall(r"`([\w.]+)`", names), defaults.split(", ")
        given = given if len(given) == len(named) else [defaults] * len(named)
        found |= dict(zip(named, given, strict=True))
    return found


def test_every_member_of_a_job_is_documented_with_its_default() -> None:
    parts = {"": Job, "lora.": Lora, "means.": Means}
    members = {
        prefix + name: field
        for prefix, part in parts.items()
        for name, field in part.model_fields.items()
        if name not in ("lora", "means")
    }
    shown = documented()
    assert set(shown) == set(members)
    for name, field in members.items():
        if field.is_required():
            assert shown[name] == "required", name
        elif isinstance(field.default, bool | int | float):
            assert float(json.loads(shown[name])) == field.default, name
        elif isinstance(field.default, str):
            assert shown[name] == f"`{field.default}`", name


def test_the_bounds_of_a_file_are_documented() -> None:
    most = bounds.Bounds()
    assert dict(rows(PAGE, "bound")) == {
        "rows of a file": f"{most.least_rows} to {most.most_rows:,}",
        "size of a row": f"{most.row_bytes // bounds.MIB} MiB",
        "size of a file": f"{most.file_bytes // bounds.MIB} MiB",
        "messages of a row": f"{bounds.MOST_MESSAGES:,}",
        "functions of a row, tool calls of a message": str(bounds.MOST_TOOLS),
        "parts of a content": str(bounds.MOST_PARTS),
    }
    assert bounds.MOST_TOOLS == bounds.MOST_CALLS


def test_every_reason_for_a_failed_job_is_documented() -> None:
    folder = REPOSITORY / "server/veneer_server/training/child"
    raised = re.compile(r'TrainingFailed\(\s*"(\w+)"')
    codes = {
        code for path in Path(folder).glob("*.py") for code in raised.findall(path.read_text())
    }
    documented = {
        code for cells in rows(PAGE, "`error.code`") for code in re.findall(r"`(\w+)`", cells[0])
    }
    assert documented == codes
