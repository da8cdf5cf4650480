"""The web page of a server: behind its token and its limits, and nothing of it stays."""

import asyncio
import json

import httpx
import pytest
import soundfile as sf

from mersa.demo.limits import PageLimits
from mersa.demo.open import UploadGate

TOKEN = "sesam"
WORDS = "I am waiting for the house from my brother."


@pytest.fixture(scope="module")
def shown(start):
    """A server with its page, a token, and recordings of at most three seconds."""
    with start("--ui", "--set", "recording_s=3", "--set", "upload_mb=1", MERSA_TOKEN=TOKEN) as one:
        yield one


@pytest.fixture
def page(shown):
    """Whoever knows the token, as a browser sends it."""
    with httpx.Client(base_url=f"{shown.url}/ui", auth=("anybody", TOKEN), timeout=60) as client:
        yield client


@pytest.mark.parametrize("path", ["", "/", "/config", "/gradio_api/info", "/gradio_api/upload"])
@pytest.mark.parametrize("auth", [None, ("anybody", "wrong"), ("anybody", "")])
def test_nobody_gets_in_without_the_token(shown, path, auth):
    answer = httpx.get(f"{shown.url}/ui{path}", auth=auth)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="mersa"'


def test_a_password_opens_the_page_alone(shown):
    answer = httpx.get(f"{shown.url}/v1/model", auth=("anybody", TOKEN))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_page_answers_as_the_api_does(shown, page, clips):
    with clips[0].open("rb") as file:
        expected = httpx.post(
            f"{shown.url}/v1/recognize",
            headers={"Authorization": f"Bearer {TOKEN}"},
            files={"audio": file},
            data={"text": WORDS},
            timeout=60,
        ).json()

    told, _, scores, *_ = press(page, send(page, clips[0]), WORDS)["data"]

    assert f"<strong>{expected['label']}</strong>" in told
    assert {one["label"]: one["confidence"] for one in scores["confidences"]} == expected["scores"]


def test_a_recording_beyond_the_limit_is_refused(page, tmp_path):
    sf.write(tmp_path / "long.wav", [0.0] * 16_000 * 4, 16_000)

    refused = press(page, send(page, tmp_path / "long.wav"))

    assert "longer than" in refused["error"]


def test_a_file_beyond_the_limit_is_refused(page):
    answer = page.post("/gradio_api/upload", files={"files": ("big.wav", b"0" * (2 << 20))})

    assert answer.status_code == 413


def test_nothing_stays_when_the_server_stops(start, clips):
    with start("--ui") as one:
        with httpx.Client(base_url=f"{one.url}/ui", timeout=60) as client:
            send(client, clips[0])
        sent = list(one.folder.rglob(clips[0].name))
        one.process.terminate()
        one.process.wait(120)

    assert len(sent) == 1
    assert not list(one.folder.glob("mersa-demo-*"))


def test_a_full_folder_takes_no_more(tmp_path):
    (tmp_path / "held.wav").write_bytes(b"0" * 2048)

    async def app(scope, receive, send):
        raise AssertionError("let through")

    gate = UploadGate(app, folder=tmp_path, limits=PageLimits(held_mb=0.001))

    answer = upload(gate)

    assert answer.status_code == 503


def test_a_file_that_comes_slowly_is_refused(tmp_path):
    async def app(scope, receive, send):
        await asyncio.sleep(60)

    gate = UploadGate(app, folder=tmp_path, limits=PageLimits(upload_s=0.01))

    answer = upload(gate)

    assert answer.status_code == 408


def upload(app):
    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/ui/gradio_api/upload")

    return asyncio.run(ask())


def send(page, recording):
    """Upload a recording as the page does, and return what the page then calls it."""
    with recording.open("rb") as file:
        answer = page.post("/gradio_api/upload", files={"files": (recording.name, file)})
    return {
        "path": answer.json()[0],
        "orig_name": recording.name,
        "meta": {"_type": "gradio.FileData"},
    }


def press(page, recording, words=""):
    """Press the button, and return what the page is told at the end."""
    cut = "automatic: up to 20 s as a whole, else by speech"
    asked = {"data": [recording, words, None, cut, False], "fn_index": 0, "session_hash": "one"}
    assert page.post("/gradio_api/queue/join", json=asked).status_code == 200
    with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": "one"}) as events:
        for line in events.iter_lines():
            event = json.loads(line.removeprefix("data: ")) if line else {}
            if event.get("msg") == "process_completed":
                return event["output"]
    raise AssertionError("no answer came")
