"""What long work tells the person who waits for it."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

OnProgress = Callable[[int, int], None]
"""Called with the number of things done and the number of all."""


class Progress(Protocol):
    """Takes sentences and counts."""

    def say(self, sentence: str) -> None:
        """Tell one sentence."""
        ...

    def task(self, name: str) -> OnProgress:
        """Begin something countable and return what takes its counts."""
        ...


class Silent:
    """Tells nothing."""

    def say(self, sentence: str) -> None:
        """Tell nothing."""

    def task(self, name: str) -> OnProgress:
        """Return a function that does nothing."""
        return lambda done, total: None


class Bars:
    """Sentences and bars on standard error; the bars only where it is a terminal."""

    def __init__(self) -> None:
        self._bars: RichProgress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as RichProgress
            from rich.progress import TimeRemainingColumn as Remaining

            self._bars = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Remaining(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, sentence: str) -> None:
        """Write one line to standard error."""
        if self._bars:
            self._bars.console.print(sentence, highlight=False, markup=False)
        else:
            sys.stderr.write(sentence + "\n")

    def task(self, name: str) -> OnProgress:
        """Show a bar."""
        if not self._bars:
            return lambda done, total: None
        bars, shown = self._bars, self._bars.add_task(name, total=None)
        return _Bar(bars, shown)


class _Bar:
    def __init__(self, bars: "RichProgress", shown: "TaskID") -> None:
        self._bars = bars
        self._shown = shown

    def __call__(self, done: int, total: int) -> None:
        self._bars.update(self._shown, completed=done, total=total, visible=done < total)
