"""What answers requests: recordings are measured, wait in a queue and are judged."""

import asyncio
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from mersa.serve.judging import Facts, Judging
from mersa.serve.limits import Limits
from mersa.serve.measuring import Measuring
from mersa.serve.pool import Fault, Pool
from mersa.serve.queue import Job, Options, Room, failed, late

if TYPE_CHECKING:
    from mersa.recognize.prediction import Prediction

logger = logging.getLogger(__name__)

_MOST_MEASURED_S = 20.0
"""Time for a recording to be measured, beyond which its decoder is taken to hang."""


class Service:
    """A model behind a queue, in processes of its own.

    Args:
        model: As `Recognizer.from_pretrained` takes it.
        device: Where it answers.
        workers: Processes that judge; each loads the model.
        limits: What is taken.
    """

    def __init__(
        self, model: str, *, device: str = "auto", workers: int = 1, limits: Limits | None = None
    ) -> None:
        self.limits = limits = limits or Limits()
        self.seconds_judged = 0.0
        threads = None if "OMP_NUM_THREADS" in os.environ else _threads_for(workers)
        self.measuring = Pool(
            partial(Measuring, limits.recording_s),
            1,
            Room(limits.requests, float("inf"), patience_s=_MOST_MEASURED_S),
            name="measuring",
        )
        self.judging = Pool(
            partial(Judging, model, device, threads),
            workers,
            Room(limits.requests, limits.waiting_s, limits.batch_files, limits.batch_s),
            name="judging",
        )

    @property
    def is_ready(self) -> bool:
        """Whether a recording would be judged at once or in its turn."""
        return self.measuring.num_ready > 0 and self.judging.num_ready > 0

    def start(self) -> Facts:
        """Begin the processes and return what the model is.

        Raises:
            MersaError: If the model cannot be loaded.
        """
        try:
            facts = self.judging.start()
            self.measuring.start()
        except BaseException:
            self.close()
            raise
        if not isinstance(facts, Facts):
            raise TypeError(f"the process that judges told {facts!r}")
        return facts

    def close(self, *, at_once: bool = False) -> None:
        """End the processes; what waits is refused, and `at_once` what is being judged, too."""
        for pool in (self.measuring, self.judging):
            if at_once:
                pool.kill()
            pool.close()

    async def predict(self, audio: BinaryIO | None = None, **options: Any) -> "Prediction":
        """Judge one recording in its turn; several may be asked for at once.

        Args:
            audio: A file on disk, read from its beginning by another process; it may be closed as
                soon as this returns.
            options: What `Recognizer.predict` takes beside it.

        Raises:
            MersaError: As `Recognizer.predict`, or if the recording is too long.
            Refused: If there is no room for it, or no answer in time.
        """
        deadline = time.monotonic() + self.limits.answer_s
        seconds = 0.0
        if audio is not None:
            seconds = await _ask(self.measuring, audio, {}, 0.0, deadline)
        prediction: Prediction = await _ask(self.judging, audio, options, seconds, deadline)
        self.seconds_judged += seconds
        return prediction


async def _ask(
    pool: Pool, audio: BinaryIO | None, options: Options, seconds: float, deadline: float
) -> Any:
    handle = None
    if audio is not None:
        handle = os.dup(audio.fileno())  # what was held in memory goes to a file
        audio.flush()
    job = Job(handle, options, seconds, deadline)
    try:
        pool.queue.put(job)
        async with asyncio.timeout(deadline - time.monotonic() + 1.0):
            result = await asyncio.wrap_future(job.result)
    except TimeoutError:
        raise late() from None
    finally:
        job.result.cancel()
    if isinstance(result, Fault):
        logger.error("a fault of the %s process: %s", pool.name, result.told)
        raise failed()
    return result


def _threads_for(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)
