"""A run's model card as the page shows it."""

import re
from pathlib import Path

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_INNER_CARD = re.compile(r"\[([^\]]+)\]\([^)]*README\.md\)")


def read_card(folder: Path) -> str:
    """Return the card of a run folder as Markdown; empty where it has none.

    The front matter goes, and so do links to the cards of folds, which the page cannot follow.
    """
    path = folder / "README.md"
    if not path.is_file():
        return ""
    return shown(path.read_text(encoding="utf-8"))


def shown(card: str) -> str:
    """Return a card without what only the Hugging Face Hub reads."""
    return _INNER_CARD.sub(r"\1", _FRONT_MATTER.sub("", card)).strip()
