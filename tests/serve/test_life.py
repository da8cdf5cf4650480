"""A server from its start to its end, and what it does when a process of it dies."""

import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import soundfile
from servers import WAIT_S, error_of, is_there

from mersa.recognize.recognizer import Recognizer


@pytest.fixture
def hard(tmp_path):
    """A request that takes some seconds."""
    path = tmp_path / "hard.flac"
    noise = 0.1 * np.random.default_rng(0).standard_normal(60 * 16_000)
    soundfile.write(path, noise, 16_000)
    fields = [("segments", "windows"), ("set", "windows.length_s=5"), ("set", "windows.step_s=0.5")]
    return [("audio", ("hard", path.read_bytes())), *((k, (None, v)) for k, v in fields)]


def ask(server, files):
    with server.client() as client:
        return client.post("/v1/recognize", files=files)


@contextmanager
def held_up(server):
    """Let no process work while this lasts, so that what is asked runs for as long."""
    pids = [*server.pids("judging"), *server.pids("measuring")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(is_there, pids):
            os.kill(pid, signal.SIGCONT)


def is_asked(server):
    """Tell whether a request runs beside the one that asks."""
    with server.client() as client:
        counts = client.get("/metrics").text
    return "mersa_requests_running 2.0" in counts


def until(condition):
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigterm_finishes_what_runs_refuses_the_rest_and_leaves_nothing(start, hard):
    with start() as server, ThreadPoolExecutor(1) as threads:
        pids = server.pids()
        with held_up(server):
            running = threads.submit(ask, server, hard)
            until(lambda: is_asked(server))

            server.process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{server.url}/ready", trust_env=False).status_code == 503)
            refused = ask(server, {"text": (None, "so")})

        answered = running.result(WAIT_S)
        code = server.process.wait(WAIT_S)

    assert answered.status_code == 200
    assert refused.status_code == 503
    assert error_of(refused) == "the server stops; ask again later"
    assert code == 0
    assert server.left() == []
    until(lambda: not any(is_there(pid) for pid in pids))
    assert server.log.read_text() == ""


def test_a_second_signal_ends_what_runs(start, hard):
    hardest = [
        *hard[:2],
        *(("set", (None, f"windows.{one}")) for one in ("length_s=30", "step_s=0.1")),
    ]
    with start("--set", "overlap=1000") as server, ThreadPoolExecutor(1) as threads:
        pids = server.pids()
        running = threads.submit(ask, server, hardest)
        until(lambda: is_asked(server))

        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)

        ended = running.result(WAIT_S)
        assert server.process.wait(WAIT_S) == 0
    assert ended.status_code == 503
    assert error_of(ended) == "the server stops; ask again later"
    assert server.log.read_text() == ""
    until(lambda: not any(is_there(pid) for pid in pids))
    assert server.left() == []


@pytest.mark.parametrize("kind", ["judging", "measuring"])
def test_a_killed_process_is_replaced_and_nobody_notices(start, clips, small_run, kind):
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")
    expected = [recognizer.predict(clip).label for clip in clips]
    with start("--workers", 2) as server:
        stop = threading.Event()

        def client(number):
            answers = []
            while not stop.is_set():
                clip = (number + len(answers)) % len(clips)
                files = {"audio": ("a", clips[clip].read_bytes())}
                answers.append((ask(server, files), expected[clip]))
            return answers

        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(client, number) for number in range(8)]
            killed = []
            for _ in range(2):
                time.sleep(1.0)
                victim = server.pids(kind)[0]
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
                until(lambda: _is_whole(server, killed))
            stop.set()
            answers = [one for client in clients for one in client.result(WAIT_S)]
        assert server.stop() == 0

    assert len(answers) > 16
    assert {answer.status_code for answer, _ in answers} == {200}
    assert all(answer.json()["label"] == label for answer, label in answers)
    assert server.left() == []
    assert re.findall("process ended at work .SIGKILL.", server.log.read_text())


def test_a_client_that_goes_leaves_the_queue(start, hard):
    with start("--set", "batch_s=0") as server:
        with ThreadPoolExecutor(1) as threads:
            with held_up(server):
                running = threads.submit(ask, server, hard)
                until(lambda: is_asked(server))
                with server.client() as gone, pytest.raises(httpx.ReadTimeout):
                    gone.post("/v1/recognize", files=hard, timeout=0.7)
            answered = running.result(WAIT_S)

        told = httpx.get(f"{server.url}/metrics", trust_env=False).text

    assert answered.status_code == 200
    assert "mersa_judged_seconds_total 60.0\n" in told


def test_nothing_that_was_sent_is_logged_or_left(start, clips):
    words = "a secret that nobody may read"
    with start() as server:
        for name, content in (("a secret.ogg", clips[0].read_bytes()), ("a secret.wav", b"no")):
            ask(server, [("audio", (name, content)), ("text", (None, words))])
        ask(server, [("secret", (None, words))])
        httpx.get(f"{server.url}/secret?text=secret", trust_env=False)
        assert server.left() == []
        server.stop()
        printed = server.process.stdout.read()

    assert "secret" not in server.log.read_text() + printed
    assert server.left() == []


def _is_whole(server, killed):
    told = httpx.get(f"{server.url}/metrics", trust_env=False).text
    ready = dict(re.findall(r'mersa_processes_ready{pool="(\w+)"} (\S+)', told))
    gone = not set(killed) & set(server.pids())
    return gone and ready == {"judging": "2.0", "measuring": "1.0"}
