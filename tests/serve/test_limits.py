"""Who may ask, how much, and how fast; each refusal says what to do."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from servers import WAIT_S, error_of

MEGABYTE = 2**20
TOKEN = "a-token-for-tests"
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def narrow(start):
    """A server that takes little, from those who know its token."""
    limits = {
        "upload_mb": 1,
        "recording_s": 20,
        "waiting_s": 12,
        "requests": 4,
        "upload_s": 1.5,
        "head_s": 1.5,
        "head_kb": 4,
        "batch_s": 0,
        "overlap": 1000,
    }
    words = [word for name, value in limits.items() for word in ("--set", f"{name}={value}")]
    with start(*words, MERSA_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture
def known(narrow):
    with narrow.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


@pytest.fixture
def bomb(tmp_path):
    """Hours of silence in few bytes."""
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(4 * 60):
            file.write(np.zeros(60 * 16_000, dtype=np.int16))
    assert path.stat().st_size < MEGABYTE
    return path.read_bytes()


@pytest.fixture
def hard(tmp_path):
    """A request that takes some seconds: many windows over 10 s."""
    path = tmp_path / "hard.flac"
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * 16_000)
    soundfile.write(path, noise[: 10 * 16_000], 16_000)
    fields = [("segments", "windows"), ("set", "windows.length_s=5"), ("set", "windows.step_s=0.1")]
    return [("audio", ("hard", path.read_bytes())), *((k, (None, v)) for k, v in fields)]


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/recognize"), ("GET", "/metrics"), ("GET", "/v1/model")]
)
def test_nobody_gets_in_without_the_token(narrow, method, path, header):
    with narrow.client() as client:
        answer = client.request(method, path, headers=header)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert error_of(answer) == "a token is needed; send it as Authorization: Bearer TOKEN"


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json"])
def test_state_and_docs_need_no_token(narrow, path):
    with narrow.client() as client:
        assert client.get(path).status_code == 200


def test_the_token_lets_in(known, clips):
    answer = known.post("/v1/recognize", files={"audio": ("a", clips[0].read_bytes())})

    assert answer.status_code == 200


def test_a_body_that_says_it_is_too_large_is_not_read(known):
    answer = known.post("/v1/recognize", files={"audio": ("a", b"\0" * (2 * MEGABYTE))})

    assert answer.status_code == 413
    assert "the body is 2.0 MB, but at most 1 MB are taken" in error_of(answer)


def test_a_body_that_grows_is_cut_off(known, narrow):
    def endless():
        yield b"--x\r\nContent-Disposition: form-data; name=audio; filename=a\r\n\r\n"
        while True:
            yield b"\0" * 65_536

    answer = known.post("/v1/recognize", content=endless(), headers={"content-type": FORM})

    assert answer.status_code == 413
    assert "larger than 1 MB" in error_of(answer)
    assert narrow.left() == []


def test_a_recording_that_unfolds_is_refused(known, bomb):
    answer = known.post("/v1/recognize", files={"audio": ("bomb.flac", bomb)})

    assert answer.status_code == 413
    assert "longer than 20 s, which is the most that this server takes" in error_of(answer)


def test_a_slow_body_is_given_up(narrow):
    with closing(_connect(narrow)) as connection:
        connection.sendall(_head("Transfer-Encoding: chunked") + b"5\r\n--x\r\n\r\n")

        answer = _read_all(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not come within 1.5 s" in answer


@pytest.mark.parametrize("begun", [b"", b"GET /health HTT", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_does_not_begin_is_closed(narrow, begun):
    with closing(_connect(narrow)) as connection:
        connection.sendall(begun)

        assert _read_all(connection) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(1_000)),
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
    ids=["without end", "no HTTP"],
)
def test_a_head_that_is_too_large_or_no_http_is_refused(narrow, head):
    with closing(_connect(narrow)) as connection:
        connection.sendall(head)

        answer = _read_all(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error": "the request is no HTTP, or its headers are too large"}' in answer


@pytest.mark.parametrize("path", ["/health", "/v1/recognize"])
def test_headers_that_are_too_large_are_refused(known, path):
    answer = known.get(path, headers={"Long": "a" * 8_192})

    assert answer.status_code == 431
    assert error_of(answer) == "the headers are larger than 4 kB; send less"


def test_a_full_queue_refuses_and_says_when_to_ask(narrow, known, hard):
    answers = []

    def ask():
        with narrow.client(headers=known.headers) as client:
            answers.append(client.post("/v1/recognize", files=hard))

    # One is judged, one of 10 s waits, which is nearly all that may wait.
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statuses = sorted(answer.status_code for answer in answers)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert statuses == [200, 200, 503]
    assert "wait already, which is all that the server takes" in error_of(refused)
    assert int(refused.headers["retry-after"]) > 0


def test_too_many_requests_are_refused_while_health_is_told(narrow, known):
    held = [_connect(narrow) for _ in range(4)]
    for connection in held:
        connection.sendall(_head("Content-Length: 9"))
    time.sleep(0.3)

    answer = known.post("/v1/recognize", files={"text": (None, "so")})
    health = known.get("/health")

    for connection in held:
        connection.close()
    assert answer.status_code == 503
    assert "4 requests are being answered" in error_of(answer)
    assert health.status_code == 200


def test_windows_that_overlap_much_are_refused(client, hard):
    answer = client.post("/v1/recognize", files=hard)

    assert answer.status_code == 400
    assert "50 windows lie over each moment, but at most 10 are taken" in error_of(answer)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "0.0.0.0"], "host '0.0.0.0' can be reached from other machines, but no token"),
        (["--set", "waiting=1"], "setting 'waiting' does not exist; the nearest is 'waiting_s'"),
        (["--set", "files=0"], "setting files is 0, but input should be greater than or equal"),
        (["--token-file", "missing"], "missing cannot be read"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(mersa, small_run, words, sentence):
    said = mersa("serve", small_run, *words)

    assert said.code == 2
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "  \n", "two words", "h\u00e4"])
def test_a_file_without_a_token_is_refused(mersa, small_run, tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")

    said = mersa("serve", small_run, "--token-file", path)

    assert said.code == 2
    assert "holds no token, which is one line of printable ASCII" in said.err


def test_a_port_that_is_taken_is_told(mersa, small_run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = mersa("serve", small_run, "--port", taken.getsockname()[1])

    assert said.code == 2
    assert "cannot be listened at (Address already in use" in said.err


def test_a_model_that_is_none_is_told(mersa, tmp_path):
    said = mersa("serve", tmp_path, "--port", 0)

    assert said.code == 2
    assert "holds no config.toml; name a run folder that mersa train made" in said.err


def test_help_needs_neither_fastapi_nor_torch():
    code = (
        "import sys, mersa.cli\nsys.argv = ['mersa', 'serve', '--help']\n"
        "try: mersa.cli.main()\nexcept SystemExit: pass\n"
        "print(*sorted({'torch', 'fastapi', 'uvicorn'} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "--token-file" in done.stdout
    assert done.stderr.strip() == ""


def _head(header):
    lines = [
        "POST /v1/recognize HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Type: {FORM}",
        header,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _connect(server):
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S)


def _read_all(connection):
    pieces = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)
