"""What a published corpus must hold, beside what was found of it."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from mersa.errors import CorpusError

_LOGGER = logging.getLogger(__name__)
_MOST_NAMED = 24  # differences that one sentence names


def check_folder(root: Path, corpus: str, remedy: str) -> None:
    """See that a corpus' folder is there.

    Args:
        root: What the user named.
        corpus: How messages call the corpus.
        remedy: What to name instead, as `name the folder that holds Actor_01 to Actor_24`.

    Raises:
        CorpusError: If it does not exist or is a file.
    """
    if root.is_file():
        raise CorpusError(f"{root} is a file, but {corpus} is a folder; unpack it and {remedy}")
    if not root.is_dir():
        raise CorpusError(f"{root} does not exist; {remedy}")


def compare_counts(
    root: Path, corpus: str, found: Mapping[str, int], expected: Mapping[str, int], *, strict: bool
) -> None:
    """Name the difference between what a folder holds and what was published.

    Args:
        root: The corpus' folder.
        corpus: How messages call the corpus.
        found: Numbers by name, as utterances by emotion; an absent name counts as 0.
        expected: The published numbers by the same names.
        strict: Make a difference an error instead of a warning.

    Raises:
        CorpusError: If they differ and `strict` is set.
    """
    differences = [
        f"{name} {found.get(name, 0):,} instead of {expected.get(name, 0):,}"
        for name in {**expected, **found}
        if found.get(name, 0) != expected.get(name, 0)
    ]
    if differences:
        warn_or_refuse(
            f"{corpus} at {root} differs from its release: {some(differences, most=_MOST_NAMED)}",
            "complete or unpack it again",
            strict=strict,
        )


def warn_or_refuse(message: str, remedy: str, *, strict: bool) -> None:
    """Warn of what is amiss with a release.

    Raises:
        CorpusError: If `strict` is set.
    """
    if strict:
        raise refusal(message, remedy)
    _LOGGER.warning("%s; %s; --strict makes this an error", message, remedy)


def refusal(message: str, remedy: str) -> CorpusError:
    """Return the error of what `--no-strict` lets through."""
    return CorpusError(f"{message}; {remedy}, or give --no-strict to go on with what is there")


def some(names: Iterable[str], *, most: int = 3) -> str:
    """Return names with commas, of more than `most` the first ones and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
