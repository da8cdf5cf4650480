"""A model's card as the page shows it."""

import re

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_INNER_CARD = re.compile(r"\[([^\]]+)\]\([^)]*README\.md\)")


def shown(card: str) -> str:
    """Return a card without front matter, and without links to folds that a page cannot follow."""
    return _INNER_CARD.sub(r"\1", _FRONT_MATTER.sub("", card)).strip()
