"""Several recordings judged at once: what they ask of the model is asked in one call."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from mersa.emotions import LabelSet
from mersa.recognize.scoring import Probabilities, Scorer, Spoken

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False)
class _Asked:
    utterances: Sequence[Spoken]
    answer: Probabilities | Exception | None = None

    def given(self) -> Probabilities:
        if self.answer is None or isinstance(self.answer, Exception):
            raise self.answer or RuntimeError("nothing was answered")
        return self.answer


class Together:
    """A scorer that waits until every recording of a batch asks it, and then scores all at once.

    Each recording is judged by the ordinary code in a thread of its own; whoever asks last, or has
    nothing more to ask, sets off the call for all that wait.

    Args:
        scorer: What scores; an utterance gets the same answer whichever others are with it.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._changed = threading.Condition()
        self._num_active = 0
        self._waiting: list[_Asked] = []

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        return self._scorer.labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads."""
        return self._scorer.modalities

    def score(self, utterances: Sequence[Spoken]) -> Probabilities:
        """Return probabilities; see the protocol."""
        if not self._num_active:
            return self._scorer.score(utterances)
        asked = _Asked(utterances)
        with self._changed:
            self._waiting.append(asked)
            self._score_if_all_ask()
            self._changed.wait_for(lambda: asked.answer is not None)
        return asked.given()

    def map(self, judge: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Call a function for each item, in threads whose calls of `score` meet."""
        if len(items) == 1:
            return [judge(items[0])]

        def join(item: T) -> R:
            try:
                return judge(item)
            finally:
                with self._changed:
                    self._num_active -= 1
                    self._score_if_all_ask()

        self._num_active = len(items)
        with ThreadPoolExecutor(len(items)) as threads:
            return list(threads.map(join, items))

    def _score_if_all_ask(self) -> None:
        if self._waiting and len(self._waiting) == self._num_active:
            waiting, self._waiting = self._waiting, []
            self._answer(waiting)
            self._changed.notify_all()

    def _answer(self, waiting: list[_Asked]) -> None:
        try:
            rows = self._scorer.score([one for asked in waiting for one in asked.utterances])
        except Exception as error:  # noqa: BLE001  told to whoever asked
            if len(waiting) == 1:
                waiting[0].answer = error
                return
            for asked in waiting:  # so that it is told to the one to blame alone
                self._answer([asked])
            return
        start = 0
        for asked in waiting:
            asked.answer = rows[start : start + len(asked.utterances)]
            start += len(asked.utterances)
