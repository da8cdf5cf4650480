"""How long an uploaded recording is, as decoded; what cannot be read is refused here.

It runs in a process of its own, without torch: a damaged file meets the decoders here first, and a
small file that unfolds to hours costs no more than the longest recording that is taken.
"""

from collections.abc import Sequence
from typing import Any, BinaryIO

from mersa.decoding import Stretch, decode, opened
from mersa.errors import MersaError
from mersa.serve.pool import Fault, Item, fault_of


class TooLongError(MersaError):
    """A recording that is longer than the server takes."""


class Measuring:
    """Tells the seconds of recordings.

    Args:
        longest_s: Of a recording.
    """

    facts: Any = None

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s

    def __call__(self, items: Sequence[Item]) -> list[float | MersaError | Fault]:
        """Return the seconds of each recording, or why it is refused."""
        return [self._measured(file) for file, _ in items if file is not None]

    def _measured(self, file: BinaryIO) -> float | MersaError | Fault:
        try:
            return seconds(file, self._longest_s)
        except MersaError as error:
            return error
        except Exception as error:  # noqa: BLE001  whatever a decoder raises, the others go on
            return fault_of(error)


def seconds(file: BinaryIO, longest_s: float) -> float:
    """Read a recording to its end and return its length in seconds.

    Raises:
        AudioError: As `read_audio`.
        TooLongError: If it is longer than `longest_s`; no more of it is read.
    """
    count, rate = 0, 1
    with opened(file, None) as (source, name):
        for block in decode(source, Stretch(name, 0.0, None)):
            count, rate = count + len(block.samples), block.rate
            if count > longest_s * rate:
                raise TooLongError(
                    f"the recording is longer than {longest_s:g} s, which is the most that this "
                    "server takes; cut it"
                )
    return count / rate
