"""What the page takes, and how long it keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageLimits:
    """Bounds of what one person sends, and of what all send together.

    Attributes:
        largest_mb: Megabytes of a file.
        held_mb: Megabytes of all files that are not removed yet.
        upload_s: Seconds for a file to come, inside an application.
        words_mb: Megabytes of a file of words.
        text_chars: Characters of typed words.
        waiting: Recordings that wait for their turn.
        kept_s: Seconds after which what was sent is removed.
    """

    largest_mb: float = 200.0
    held_mb: float = 2048.0
    upload_s: float = 60.0
    words_mb: float = 4.0
    text_chars: int = 10_000
    waiting: int = 20
    kept_s: int = 900
