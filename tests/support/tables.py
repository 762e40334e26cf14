"""Tables of the documents, for tests that hold them against the code."""

from support.places import REPOSITORY


def rows(path: str, first: str) -> list[list[str]]:
    """Return the cells of every table row of ``path`` below a heading cell ``first``."""
    found: list[list[str]] = []
    inside = False
    for line in (REPOSITORY / path).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0].strip() == first:
            inside = True
        elif inside and not line.startswith("|---"):
            found.append(cells)
    return found
