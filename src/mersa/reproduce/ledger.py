"""Which steps are finished, what they took, and how long the others may take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mersa.errors import RunError
from mersa.files import write_json
from mersa.reproduce.plan import Step


@dataclass(frozen=True)
class Record:
    """What is kept of a finished step.

    Attributes:
        finished: When, in seconds since 1970.
        seconds: How long it took by the clock; of one that was stopped and gone on with, the last
            stretch.
        cpu_seconds: Processor time of it.
        resumed: Whether it had been begun before.
        needs: When each step that it needs was finished.
    """

    finished: float
    seconds: float
    cpu_seconds: float
    resumed: bool
    needs: Mapping[str, float]


class Ledger:
    """The records of finished steps, a file each in `OUT/steps`.

    A step is finished if its record is there, and what it makes, and if no step that it needs was
    run after it.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def record(self, step: Step) -> Record | None:
        """Return what is kept of a step, finished or not any more; None if nothing is."""
        path = self._path(step)
        if not path.is_file():
            return None
        try:
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"{path} cannot be read ({error}); remove it, and the step is done again"
            ) from None

    def finished(self, steps: Sequence[Step]) -> set[str]:
        """Return the names of the steps that are finished."""
        records = {step.name: self.record(step) for step in steps}
        done: set[str] = set()
        for step in steps:
            record = records[step.name]
            if record is None or (step.makes and not (self._out / step.makes).exists()):
                continue
            needs = {name: one.finished for name in step.needs if (one := records.get(name))}
            if set(step.needs) <= done and needs == record.needs:
                done.add(step.name)
        return done

    def begin(self, step: Step) -> bool:
        """Note that a step begins, and return whether it had begun before without an end."""
        mark = self._begun(step)
        begun = mark.exists()
        mark.parent.mkdir(parents=True, exist_ok=True)
        self._path(step).unlink(missing_ok=True)
        mark.touch()
        return begun

    def finish(
        self,
        step: Step,
        steps: Sequence[Step],
        *,
        now: float,
        seconds: float,
        cpu_seconds: float,
        resumed: bool,
    ) -> None:
        """Keep the record of a step that has ended."""
        needs = {
            one.name: record.finished
            for one in steps
            if one.name in step.needs and (record := self.record(one))
        }
        kept = Record(now, round(seconds, 3), round(cpu_seconds, 3), resumed, needs)
        write_json(self._path(step), asdict(kept))
        self._begun(step).unlink(missing_ok=True)

    def _begun(self, step: Step) -> Path:
        path = self._path(step)
        return path.with_name(f"{path.stem}.begun")  # the name of a row has a dot itself

    def _path(self, step: Step) -> Path:
        return self._out / "steps" / f"{step.name.replace(' ', '-')}.json"


@dataclass(frozen=True)
class Estimate:
    """How long the steps that are left may take.

    Attributes:
        seconds: Of those of a kind of which one has finished.
        known: How many those are.
        rough: How many of them go by a finished step that is not quite of their kind, as a row
            by one with another network.
        unknown: How many there are of which nothing is known; steps that take a moment are in
            neither number.
    """

    seconds: float
    known: int
    rough: int
    unknown: int

    def text(self) -> str:
        """Tell it in words."""
        if not self.known:
            return "how long the rest takes is not known yet" if self.unknown else "nearly done"
        kind = "very roughly" if self.rough else "about"
        steps = "step" if self.unknown == 1 else "steps"
        more = f", and {self.unknown} {steps} of unknown length" if self.unknown else ""
        return f"{kind} {duration(self.seconds)} left{more}"

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return asdict(self)


def estimate(left: Sequence[Step], steps: Sequence[Step], ledger: Ledger) -> Estimate:
    """Estimate what is left from what the steps most like it took, by size.

    Args:
        left: The steps that have not run.
        steps: All steps.
        ledger: The records of those that have; one that was stopped and gone on with tells
            nothing.
    """
    taken = [
        (step, record.seconds)
        for step in steps
        if step.like and (record := ledger.record(step)) and not record.resumed
    ]
    seconds, known, rough, unknown = 0.0, 0, 0, 0
    for step in (one for one in left if one.like):
        alike = [_shared(step.like, one.like) for one, _ in taken]
        most = max(alike, default=0)
        if not most:
            unknown += 1
            continue
        nearest = [one for one, shared in zip(taken, alike, strict=True) if shared == most]
        known, rough = known + 1, rough + (most < len(step.like))
        seconds += step.size * sum(s for _, s in nearest) / sum(one.size for one, _ in nearest)
    return Estimate(seconds, known, rough, unknown)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two sequences begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def duration(seconds: float) -> str:
    """Write a time as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
