"""Processes that work, die and are replaced; what they do here needs no model."""

import os
import signal
import time
from dataclasses import replace
from functools import partial

import pytest

from mersa.errors import ConfigError, RunError
from mersa.serve.limits import Refused
from mersa.serve.pool import Pool
from mersa.serve.queue import Job, Queue, Room

WAIT_S = 60
ROOM = Room(waiting=8, waiting_s=100.0, together=4, together_s=10.0)


class Doing:
    """Does what the options of a job say."""

    facts = "ready"

    def __init__(self, failure=None):
        if failure:
            raise failure

    def __call__(self, items):
        return [self._do(file, options, len(items)) for file, options in items]

    def _do(self, file, options, together):
        if options.get("die_unless"):  # once, or each time where it can never be made
            path = options["die_unless"]
            if not os.path.exists(path):  # noqa: PTH110
                if not options.get("always"):
                    open(path, "w").close()  # noqa: PTH123
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(options.get("sleep_s", 0))
        if "error" in options:
            return ConfigError(options["error"])
        return file.read() if file else {"pid": os.getpid(), "together": together}


@pytest.fixture
def pool():
    pool = Pool(Doing, 1, ROOM, name="doing")
    pool.start()
    yield pool
    pool.close()


def job(handle=None, *, seconds=1.0, patience_s=WAIT_S, **options):
    return Job(handle, options, seconds, time.monotonic() + patience_s)


def done(pool, *jobs):
    for one in jobs:
        pool.queue.put(one)
    return [one.result.result(WAIT_S) for one in jobs]


def test_a_file_travels_as_a_descriptor_and_is_closed(pool, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"what it holds")
    handle = os.open(path, os.O_RDONLY)
    file = os.fstat(handle)
    path.unlink()

    (answer,) = done(pool, job(handle))

    assert answer == b"what it holds"
    # It is closed just after the answer is there, and its number may be given to another file then.
    until = time.monotonic() + WAIT_S
    while _is_open(handle, file) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _is_open(handle, file)


def _is_open(handle, file):
    try:
        return os.path.samestat(os.fstat(handle), file)
    except OSError:
        return False


def test_a_mistake_comes_back_as_it_is(pool):
    with pytest.raises(ConfigError, match="this is wrong"):
        done(pool, job(error="this is wrong"))


def test_work_of_a_process_that_died_is_done_again(pool, tmp_path):
    before = pool.pids

    (answer,) = done(pool, job(die_unless=str(tmp_path / "died")))

    assert answer["pid"] not in before
    assert pool.num_deaths == 1
    assert pool.num_ready == 1


def test_the_one_to_blame_is_refused_and_the_others_are_done(pool, tmp_path):
    slow = job(sleep_s=0.5)  # so that the next three wait, and are taken together
    others = [job(), job()]
    poison = job(die_unless=str(tmp_path / "never"), always=True)
    for one in (slow, others[0], poison, others[1]):
        pool.queue.put(one)

    answers = [one.result.result(WAIT_S) for one in others]
    with pytest.raises(Refused, match="ended twice") as refused:
        poison.result.result(WAIT_S)

    assert refused.value.status == 503
    assert [answer["together"] for answer in answers] == [1, 1]
    assert pool.num_deaths == 2


def test_a_process_that_takes_too_long_is_ended(pool):
    (pid,) = pool.pids

    with pytest.raises(Refused, match="no answer was found in time") as refused:
        done(pool, job(sleep_s=600, patience_s=0.5))

    assert refused.value.status == 504
    assert done(pool, job())[0]["pid"] != pid


def test_work_that_hangs_is_tried_once_more_and_then_refused():
    pool = Pool(Doing, 1, replace(ROOM, patience_s=0.3), name="doing")
    pool.start()

    with pytest.raises(Refused, match="ended twice"):
        done(pool, job(sleep_s=600))

    pool.close()
    assert pool.num_deaths == 2


def test_jobs_that_wait_are_taken_together_by_seconds():
    queue = Queue(ROOM)
    jobs = [job(seconds=seconds) for seconds in (4.0, 5.0, 2.0, 30.0, 1.0)]
    for one in jobs:
        queue.put(one)

    batches = [queue.take() for _ in range(4)]

    assert batches == [jobs[:2], [jobs[2]], [jobs[3]], [jobs[4]]]


def test_what_is_done_again_goes_first_and_by_itself():
    queue = Queue(ROOM)
    again, other = job(), job()
    queue.put(again)
    queue.take()
    queue.put(other)

    queue.put_back([again])

    assert queue.take() == [again]
    assert queue.take() == [other]


def test_a_job_that_was_given_up_is_left_out():
    queue = Queue(ROOM)
    given_up, other = job(), job()
    queue.put(given_up)
    queue.put(other)

    given_up.result.cancel()

    assert queue.take() == [other]


@pytest.mark.parametrize(("count", "seconds"), [(8, 1.0), (2, 50.0)])
def test_a_full_queue_refuses(count, seconds):
    queue = Queue(ROOM)
    for _ in range(count):
        queue.put(job(seconds=seconds))

    with pytest.raises(Refused, match=f"{count} recordings of .* wait already") as refused:
        queue.put(job())

    assert (refused.value.status, refused.value.retry) == (503, True)


def test_one_long_recording_fits_an_empty_queue():
    queue = Queue(ROOM)

    queue.put(job(seconds=1_000.0))

    assert len(queue) == 1


def test_a_job_that_is_late_makes_room():
    queue = Queue(Room(waiting=1, waiting_s=100.0))
    late = job(patience_s=0.0)
    queue.put(late)

    queue.put(job())

    with pytest.raises(Refused, match="in time"):
        late.result.result(0)


def test_closing_refuses_what_waits_and_leaves_no_process():
    pool = Pool(Doing, 2, ROOM, name="doing")
    pool.start()
    running = [job(sleep_s=1.0), job(sleep_s=1.0)]
    for one in running:
        pool.queue.put(one)
        while len(pool.queue):
            time.sleep(0.01)
    waiting = job()
    pool.queue.put(waiting)
    pids = pool.pids

    pool.close()

    assert [one.result.result(0)["together"] for one in running] == [1, 1]
    with pytest.raises(Refused, match="the server stops"):
        waiting.result.result(0)
    with pytest.raises(Refused, match="the server stops"):
        pool.queue.put(job())
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_work_that_cannot_be_made_is_told():
    pool = Pool(partial(Doing, RunError("no such run")), 2, ROOM, name="doing")

    with pytest.raises(RunError, match="no such run"):
        pool.start()

    pool.close()
    assert pool.pids == []
