"""Tables that a release keeps beside its folder of recordings."""

from collections.abc import Iterable
from pathlib import Path

from mersa.errors import CorpusError
from mersa.manifest import read_table


def read_beside(root: Path, name: str, folder: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read such a table.

    Args:
        root: The folder that holds both, one above it, or the folder of recordings itself.
        name: The table's file name.
        folder: What the release calls the folder of recordings.
        columns: Columns that the table must have.

    Returns:
        Its rows, without the blanks around each cell; none if there is no such table.

    Raises:
        CorpusError: If a column is absent.
        ManifestError: If it cannot be read as a table.
    """
    if not root.is_dir():
        return []
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    if root.resolve().name == folder:
        places.append(root.resolve().parent)
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        return []
    rows = read_table(path)
    absent = [column for column in columns if rows and column not in rows[0]]
    if absent:
        raise CorpusError(
            f"{path} has no column {absent[0]!r} (found: {', '.join(rows[0])}); put the table of "
            "the release there, or move this one away"
        )
    return [{column: cell.strip() for column, cell in row.items()} for row in rows]
