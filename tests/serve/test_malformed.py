"""What no server should be sent is refused: no fault, no crash, no file left, no memory kept."""

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from malformed import Malformed
from servers import WAIT_S

LIMITS = ("upload_mb=1", "recording_s=30", "upload_s=3", "head_s=3")
MEANT = {400, 408, 413, 431, 503, 504}
GROWN_MB = 200
"""More than any allocator keeps back, less than a leak of 1 % of what is sent."""


@pytest.fixture(scope="module")
def narrow(start):
    words = [word for limit in LIMITS for word in ("--set", limit)]
    with start(*words) as server:
        yield server


@pytest.fixture(scope="module")
def malformed(clips):
    return Malformed(clips)


@pytest.mark.parametrize("number", range(105))
def test_a_malformed_request_is_refused(narrow, malformed, number):
    sent = malformed.make(number)

    status, answer = send(narrow, sent)

    assert status in {*MEANT, 200} or (status, sent.kind) == (None, "lies of its length"), sent.kind
    assert status in (200, None) or answer.startswith(b'{"error": "')
    assert b"Traceback" not in answer
    assert narrow.left() == []
    assert narrow.log.read_text() == ""


@pytest.mark.slow
def test_two_thousand_malformed_requests_leave_a_server_as_it_was(narrow, malformed, clips):
    def ask(number):
        sent = malformed.make(number)
        return sent.kind, send(narrow, sent)[0]

    pids = narrow.pids()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(200)))  # what is loaded once, is
        before = narrow.megabytes()
        statuses = Counter(threads.map(ask, range(200, 2_200)))
    after = narrow.megabytes()
    with narrow.client() as client:
        answer = client.post("/v1/recognize", files={"audio": ("a", clips[0].read_bytes())})

    for (kind, status), count in sorted(statuses.items(), key=str):
        print(f"{kind:20} {status} {count:5}")
    print(f"resident memory of all processes: {before:.0f} MB before, {after:.0f} MB after")
    assert {status for _, status in statuses} <= {*MEANT, 200, None}
    assert {kind for kind, status in statuses if status is None} <= {"lies of its length"}
    assert answer.status_code == 200
    assert after - before < GROWN_MB
    assert narrow.pids() == pids
    assert narrow.left() == []
    assert narrow.log.read_text() == ""


def send(server, sent):
    """Send one request and return the status and the body of its answer; None if there is none."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as connection:
        with suppress(ConnectionError):
            _send(connection, sent)
        answer = b""
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (None, b"")


def _send(connection, sent):
    lines = ["POST /v1/recognize HTTP/1.1", "Host: x", "Connection: close", *sent.headers]
    pieces = sent.pieces() if callable(sent.pieces) else sent.pieces
    if sent.is_chunked:
        lines.append("Transfer-Encoding: chunked")
    elif not any(line.startswith("Content-Length") for line in lines):
        lines.append(f"Content-Length: {sum(map(len, pieces))}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    for piece in pieces:
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if sent.is_chunked else piece)
