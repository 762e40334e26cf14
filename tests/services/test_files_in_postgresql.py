"""Every promise of files, on PostgreSQL; and two servers that share the folder."""

from pathlib import Path

import pytest

from support.filing import STORIES, Story, opened, read, upload
from support.keeping import Clock

pytestmark = pytest.mark.services


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_on_postgresql(story: Story, postgres_url: str, tmp_path: Path) -> None:
    clock = Clock()
    async with opened(postgres_url, tmp_path / "files", clock) as files:
        await story(files, clock)


async def test_a_file_is_read_and_deleted_on_another_server_that_shares_the_folder(
    postgres_url: str, tmp_path: Path
) -> None:
    folder, clock = tmp_path / "files", Clock()
    async with (
        opened(postgres_url, folder, clock) as one,
        opened(postgres_url, folder, clock) as two,
    ):
        file = await upload(one, b"shared")
        assert await read(two, file) == b"shared"
        await two.delete("me", file.id)
        assert list(one.contents.digests()) == []
