"""The form of an upload, however its bytes are cut."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.files.form import Form, read_form
from veneer_server.api.multipart import FORM_BYTES
from veneer_server.files.contents import Arriving
from veneer_server.files.errors import FileTooLarge

TYPE = 'multipart/form-data; boundary="cut"'
CONTENT = b"one\r\n--cu\r\ntwo\r\n--cut"  # nearly a boundary


def part(head: str, content: bytes) -> bytes:
    named = f"Content-Disposition: form-data; {head}"
    return b"--cut\r\n" + named.encode() + b"\r\n\r\n" + content + b"\r\n"


FILE = part('name="file"; filename="rows.jsonl"', CONTENT[:-5])
PURPOSE = part('name="purpose"', b"batch")
END = b"--cut--\r\n"


@pytest.fixture
def arriving(tmp_path: Path) -> Iterator[Arriving]:
    found = Arriving(tmp_path / "file", max_bytes=1000)
    yield found
    found.discard()


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), size):
        yield body[begin : begin + size]


async def sent(arriving: Arriving, body: bytes, size: int = 1 << 20, kind: str = TYPE) -> Form:
    return await read_form(kind, cut(body, size), {"file": arriving})


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
@pytest.mark.parametrize("body", [FILE + PURPOSE + END, PURPOSE + FILE + END])
async def test_a_form_is_the_same_however_it_is_cut_and_in_any_order(
    arriving: Arriving, body: bytes, size: int
) -> None:
    form = await sent(arriving, body, size)
    assert (form.filenames, form.fields) == ({"file": "rows.jsonl"}, {"purpose": "batch"})
    assert arriving.path.read_bytes() == CONTENT[:-5]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (FILE + PURPOSE + END, "application/json"),
        (FILE + PURPOSE + END, "multipart/form-data"),
        (FILE + PURPOSE, TYPE),
        (FILE + FILE + END, TYPE),
        (part('name="other"; filename="x"', b"x") + END, TYPE),
        (PURPOSE + END, TYPE),
        (PURPOSE + PURPOSE + FILE + END, TYPE),
        (part('name="purpose"', b"\xff") + FILE + END, TYPE),
        (part('name="purpose"', b"x" * 5000) + FILE + END, TYPE),
        (b"".join(part(f'name="{n}"', b"") for n in range(17)) + FILE + END, TYPE),
        (b"--cut\r\nX: " + b"x" * 10_000, TYPE),
        (part("", b"x") + END, TYPE),
        (b"not a form", TYPE),
        (b"", TYPE),
    ],
)
async def test_what_is_no_form_with_one_file_is_refused(
    arriving: Arriving, body: bytes, kind: str
) -> None:
    with pytest.raises(InvalidRequest):
        await sent(arriving, body, kind=kind)


@pytest.mark.parametrize(("name", "sent"), [("held.jsonl", {"held": "held.jsonl"}), ("", {})])
async def test_a_second_file_goes_to_its_own_place_and_one_without_a_name_is_none(
    arriving: Arriving, tmp_path: Path, name: str, sent: dict[str, str]
) -> None:
    other = Arriving(tmp_path / "other", max_bytes=1000)
    held = part(f'name="held"; filename="{name}"', b"two" if name else b"")
    body = cut(held + FILE + END, 5)
    form = await read_form(TYPE, body, {"file": arriving, "held": other})
    assert form.filenames == {"file": "rows.jsonl", **sent}
    assert arriving.path.read_bytes() == CONTENT[:-5]
    assert other.path.read_bytes() == (b"two" if name else b"")
    other.discard()
    with pytest.raises(InvalidRequest):
        await read_form(TYPE, cut(held + END, 5), {"file": arriving, "held": other})


async def test_a_file_over_its_bound_is_refused_while_it_arrives(arriving: Arriving) -> None:
    large = part('name="file"; filename="x"', b"x" * 1001)
    with pytest.raises(FileTooLarge):
        await sent(arriving, PURPOSE + large + END)


async def test_what_stands_around_the_parts_is_bounded_too(arriving: Arriving) -> None:
    with pytest.raises(FileTooLarge):
        await sent(arriving, FILE + END + b"x" * (1000 + FORM_BYTES))
