"""The mistakes that a user can make, one kind for each thing that can be wrong.

Every message is one sentence: what was wrong, what was seen, what was expected, what to do. The
command line prints it and exits with 2; anything that is not a `MersaError` is a fault of ours and
keeps its traceback.
"""

from typing import Any


class MersaError(Exception):
    """A mistake that the user can mend; the message says how."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), str(self))  # between processes; `__init__` may take other words


class AudioError(MersaError, ValueError):
    """A recording that cannot be read whole."""


class ManifestError(MersaError, ValueError):
    """A manifest, or a table to make one from, that breaks its contract."""


class CorpusError(MersaError, ValueError):
    """A corpus folder that is missing, incomplete or not what it is said to be."""


class ProtocolError(MersaError, ValueError):
    """A protocol that cannot cut this manifest into parts."""


class EncoderError(MersaError, ValueError):
    """An encoder that cannot be found, loaded or used."""


class ConfigError(MersaError, ValueError):
    """A setting that does not exist, or a value that it cannot take."""


class AlignmentError(MersaError, ValueError):
    """An aligned encoder that cannot be made, is unfinished, or was made from other data."""


class RunError(MersaError, ValueError):
    """A run folder that is unfinished, broken or does not fit."""


class ShapeError(MersaError, ValueError):
    """Arrays whose shapes do not fit each other."""


class StorageError(MersaError, OSError):
    """A disk that takes no more."""


class MissingExtraError(MersaError, ImportError):
    """An optional part that is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an optional part; install it: pip install 'mersa[{extra}]'")


def _again(kind: type[MersaError], message: str) -> MersaError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


def first_line(error: Exception) -> str:
    """Return what a library's error says first; its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
