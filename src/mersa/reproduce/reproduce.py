"""The paper's tables and figures from the folders of its corpora, in one resumable go."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mersa import parallel
from mersa.encoders.cache import FeatureCache
from mersa.errors import ConfigError, RunError
from mersa.files import is_in_a_file, one_process, write_json
from mersa.paper import ROWS
from mersa.progress import OnProgress, Progress, Silent
from mersa.reproduce import stand_ins
from mersa.reproduce.ledger import Ledger, estimate
from mersa.reproduce.plan import Step, plan
from mersa.reproduce.request import (
    ENCODERS,
    TARGETS,
    Request,
    not_run,
    row_in,
    rows_of,
)
from mersa.reproduce.survey import SOURCES, check_encoders, check_request, survey
from mersa.reproduce.work import Work, do
from mersa.runs import read_json, read_metrics

PLAN = "plan.json"


def make_request(
    targets: Sequence[str],
    *,
    folders: Mapping[str, Path] | None = None,
    protocol: str = "auto",
    seeds: int = 1,
    quick: bool = False,
    settings: Sequence[str] = (),
    encoders: Mapping[str, str] | None = None,
    strict: bool | None = None,
) -> Request:
    """Put a request together and check it.

    Args:
        targets: Of `TARGETS`, rows, or `all`.
        folders: Folder of each corpus at hand: `iemocap`, `meld`.
        protocol: How they are cut.
        seeds: Trainings of each row.
        quick: Rehearse on the embedded corpus with small encoders and few epochs.
        settings: Assignments such as `train.epochs=3` or `align.epochs=1`, for all rows.
        encoders: Other encoders in the place of `bert`, `vggish` or `wav2vec2`.
        strict: Refuse a corpus that differs from its release, or warn; None as its reader does.

    Raises:
        ConfigError: If there is no such target or encoder, or nothing can be run.
    """
    names = [
        target.lower() if target.lower() in (*TARGETS, "all") else target.upper()
        for target in targets
    ]
    for name, target in zip(names, targets, strict=True):
        if name not in (*TARGETS, *ROWS, "all"):
            raise ConfigError(
                f"{target!r} cannot be reproduced; choose {', '.join(TARGETS)}, all, or rows as "
                "III.6 (see: mersa rows)"
            )
    for name in encoders or {}:
        if name not in ENCODERS:
            raise ConfigError(
                f"--encoder {name}=... names no encoder of the paper; it is one of "
                f"{', '.join(ENCODERS)}"
            )
    wanted = TARGETS if "all" in names else [one for one in (*TARGETS, *ROWS) if one in names]
    request = Request(
        targets=tuple(wanted),
        folders={name: folder.resolve() for name, folder in (folders or {}).items()},
        quick=quick,
        protocol=protocol,
        seeds=seeds,
        settings=(*(stand_ins.SETTINGS if quick else ()), *settings),
        strict=strict,
        encoders={**(stand_ins.ENCODERS if quick else ENCODERS), **(encoders or {})},
    )
    check_request(request)
    return request


def preview(request: Request, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Tell what `reproduce` would do, and what of it is finished, without doing it.

    Returns:
        `steps`, each with `finished`; `not_run`, the targets without a corpus; `left`, the time.
    """
    _check_place(request, out)
    seen = survey(request, out, progress or Silent())
    steps, ledger = plan(request, out, sizes=seen.sizes), Ledger(out)
    done = ledger.finished(steps)
    left = [step for step in steps if step.name not in done]
    return {
        "out": str(out),
        "steps": [step.as_dict() | {"finished": step.name in done} for step in steps],
        "not_run": not_run_text(request),
        "left": estimate(left, steps, ledger).as_dict(),
    }


def reproduce(
    request: Request,
    out: Path,
    *,
    cache: FeatureCache,
    device: str = "auto",
    devices: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prepare, align, train, evaluate and report; what is finished is not done again.

    Args:
        request: As of `make_request`.
        out: The folder of all that comes out; killed, the same call goes on in it.
        cache: Where frames lie; rows share them.
        device: `auto`, `cpu` or `cuda[:n]`.
        devices: How many processes share a training or an alignment.
        progress: What is told of it.

    Returns:
        `rows` with their scores, what was `ran`, was `finished` before and is `not_run`, the files
        of the `report`, and the time it took.

    Raises:
        RunError: If `out` holds something else, or another process works in it.
    """
    if parallel.started():
        raise ConfigError(
            "mersa reproduce starts the processes of each training itself, so torchrun would do "
            "all of it several times; give --devices N instead"
        )
    progress = progress or Silent()
    started, processor = time.monotonic(), _processor_s()
    busy = RunError(f"another process works in {out}; wait for it, or choose another --out")
    with one_process(out, busy):
        _check_place(request, out)
        seen = survey(request, out, progress)
        check_encoders(request, out)
        steps, ledger = plan(request, out, sizes=seen.sizes), Ledger(out)
        finished = ledger.finished(steps)
        _write_plan(request, out)
        work = Work(
            request, out, seen.manifests, cache, device, devices, _Aside(progress, out / "log.txt")
        )
        left = [step for step in steps if step.name not in finished]
        if finished and left:
            progress.say(f"{len(finished)} of {len(steps)} steps were finished before")
        for target, why in not_run_text(request).items():
            progress.say(f"not run: {target}, {why}")
        for place, step in enumerate(left):
            number = len(steps) - len(left) + place + 1
            ahead = estimate(left[place:], steps, ledger)
            progress.say(f"[{number}/{len(steps)}] {step.name}: {ahead.text()}")
            _run(step, steps, ledger, work)
    return {
        "out": str(out),
        "protocol": request.protocol,
        "seeds": request.seeds,
        "quick": request.quick,
        "rows": {row.id: _scores(row_in(out, row)) for row in rows_of(request)},
        "ran": [step.name for step in left],
        "finished": sorted(finished, key=[step.name for step in steps].index),
        "not_run": not_run_text(request),
        "report": [path.name for path in sorted(out.glob("report.*"))],
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(_processor_s() - processor, 1),
    }


def not_run_text(request: Request) -> dict[str, str]:
    """Return why each target that is not run is not."""
    return {
        target: f"since no folder of {corpus} was given"
        + (f" (--{corpus} FOLDER; {SOURCES[corpus]})" if corpus in SOURCES else "")
        for target, corpus in not_run(request).items()
    }


def _run(step: Step, steps: Sequence[Step], ledger: Ledger, work: Work) -> None:
    resumed = ledger.begin(step)
    started, processor = time.monotonic(), _processor_s()
    do(step, work)
    ledger.finish(
        step,
        steps,
        now=time.time(),
        seconds=time.monotonic() - started,
        cpu_seconds=_processor_s() - processor,
        resumed=resumed,
    )


def _processor_s() -> float:
    """Return the processor time of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _identity(request: Request) -> dict[str, Any]:
    """Return what a folder must agree on with a request to go on with it."""
    return {
        "quick": request.quick,
        "protocol": request.protocol,
        "seeds": request.seeds,
        "settings": list(request.settings),
        "encoders": {name: str(one) for name, one in request.encoders.items()},
        "folders": {name: str(one) for name, one in request.folders.items()},
    }


def _plan(request: Request, out: Path) -> dict[str, Any]:
    """Read what a folder was asked for before, in the form of this request's."""
    remedy = "bring it back, or choose another --out"
    asked = read_json(out / PLAN, remedy=remedy)
    known = _identity(request).keys() <= asked.keys()
    if not (known and isinstance(asked["folders"], dict)):
        raise RunError(f"{out / PLAN} is not what mersa reproduce writes; {remedy}")
    return asked


def _write_plan(request: Request, out: Path) -> None:
    asked = _identity(request)
    if (out / PLAN).is_file():
        asked["folders"] = _plan(request, out)["folders"] | asked["folders"]
    write_json(out / PLAN, asked)


def _check_place(request: Request, out: Path) -> None:
    if is_in_a_file(out.absolute()):
        raise RunError(
            f"{out} is or lies below a file, but a folder is needed; choose another --out"
        )
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / PLAN).is_file():
        foreign = sorted(path.name for path in out.iterdir())[0]
        raise RunError(
            f"{out} holds {foreign!r}, which mersa reproduce did not put there; name a new or an "
            "empty folder as --out"
        )
    before, after = _plan(request, out), _identity(request)
    known = before["folders"]
    for name, folder in after["folders"].items():  # a corpus may come later
        if known.get(name, folder) != folder:
            raise RunError(
                f"{out} was made from {name} at {known[name]}, but {folder} was given; choose "
                "another --out"
            )
    for name, value in after.items():
        if name != "folders" and before.get(name) != value:
            raise RunError(
                f"{out} holds a reproduction with {name} {_told(before.get(name))}, but "
                f"{_told(value)} was asked for; choose another --out"
            )


def _told(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _scores(folder: Path) -> dict[str, Any]:
    test = read_metrics(folder)["parts"]["test"]
    names = ("n", "groups", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
    return {name: test[name] for name in names}


class _Aside:
    """Writes sentences to a file, since those of 24 rows would hide what is running."""

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path

    def say(self, sentence: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")

    def task(self, name: str) -> OnProgress:
        return self._progress.task(name)
