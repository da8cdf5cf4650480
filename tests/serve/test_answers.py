"""What a server answers, and that it is what Python and the shell answer."""

import json
import re

import numpy as np
import pytest
import soundfile
from servers import error_of

from mersa.recognize.recognizer import Recognizer
from mersa.recognize.settings import make_segmentation

TEXT = "I have told you so"


@pytest.fixture(scope="module")
def recognizer(small_run):
    return Recognizer.from_pretrained(small_run, device="cpu")


@pytest.fixture(scope="module")
def long(clips, tmp_path_factory):
    """A recording of some 30 s, in two channels."""
    parts = [soundfile.read(clip)[0] for clip in clips]
    samples = np.concatenate([part for one in parts for part in (one, np.zeros(16_000))] * 2)
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, np.stack([samples, samples[::-1]], axis=1), 16_000)
    return path


@pytest.mark.parametrize("form", ["jsonl", "csv", "srt", "vtt", "audacity", "hf"])
def test_http_answers_what_the_shell_prints(client, mersa, small_run, long, monkeypatch, form):
    monkeypatch.chdir(long.parent)
    words = ("predict", small_run, long.name, "--format", form, "--device", "cpu", "--quiet")
    printed = mersa(*words).out

    answer = client.post(
        "/v1/recognize", files={"audio": (long.name, long.read_bytes())}, data={"format": form}
    )

    assert (answer.status_code, answer.text) == (200, printed)


def test_http_answers_what_python_answers(client, recognizer, clips):
    expected = recognizer.predict(clips[0], TEXT)

    answer = client.post(
        "/v1/recognize", files={"audio": ("a.ogg", clips[0].read_bytes())}, data={"text": TEXT}
    )

    assert answer.json() == {"audio": "a.ogg", **_plain(expected)}


def test_labels_are_withheld_as_in_python(client, recognizer, clips):
    expected = recognizer.predict(clips[0], TEXT, abstain=0.0)

    answer = client.post(
        "/v1/recognize",
        files={"audio": ("a.ogg", clips[0].read_bytes())},
        data={"text": TEXT, "abstain": "0.0"},
    )

    assert answer.json() == {"audio": "a.ogg", **_plain(expected)}
    assert any("withheld" in note for note in expected.notes)


def test_words_alone_are_judged(client, recognizer):
    expected = recognizer.predict(text=TEXT)

    answer = client.post("/v1/recognize", files={"text": (None, TEXT)})

    assert answer.json() == {"audio": "", **_plain(expected)}


def test_segments_are_those_of_the_settings(client, recognizer, long):
    segmentation = make_segmentation("windows", ["windows.length_s=4"], channels=True)
    expected = recognizer.predict(long, segmentation=segmentation)
    fields = {"segments": "windows", "set": "windows.length_s=4", "channels": "true"}

    answer = client.post(
        "/v1/recognize", files={"audio": ("long.flac", long.read_bytes())}, data=fields
    )

    assert answer.json() == {"audio": "long.flac", **_plain(expected)}


def test_one_bad_recording_is_told_in_its_place(client, recognizer, clips):
    expected = [_plain(recognizer.predict(clip)) for clip in clips[:2]]
    files = [
        ("audio", ("one.ogg", clips[0].read_bytes())),
        ("audio", ("../../etc/passwd", b"no sound")),
        ("audio", ("two.ogg", clips[1].read_bytes())),
    ]

    answer = client.post("/v1/batch", files=files)

    one, bad, two = answer.json()["answers"]
    assert answer.status_code == 200
    assert (bad["audio"], bad["status"]) == ("../../etc/passwd", 400)
    assert "is not audio that can be read" in bad["error"]
    for got, name, wanted in ((one, "one.ogg", expected[0]), (two, "two.ogg", expected[1])):
        # They may be scored together, which moves the last digits.
        assert got["label"] == wanted["label"]
        assert got["audio"] == name
        assert got["scores"] == pytest.approx(wanted["scores"], abs=1e-6)


def test_texts_go_with_recordings_in_their_order(client, clips):
    sound = clips[0].read_bytes()
    files = [("audio", ("a", sound)), ("audio", ("b", sound)), *_texts("no one", "what a day")]

    answers = client.post("/v1/batch", files=files).json()["answers"]

    assert [one["segments"][0]["text"] for one in answers] == ["no one", "what a day"]


def test_the_model_is_told(client, recognizer, small_run):
    told = client.get("/v1/model").json()

    assert told["labels"] == list(recognizer.labels.labels)
    assert told["modalities"] == list(recognizer.modalities)
    assert told["card"] == (small_run / "README.md").read_text()


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ([], 400, "nothing to judge; send a recording as audio, or its text"),
        (["audio", "audio"], 400, "2 recordings and 0 texts were sent.* send several to /v1/batch"),
        ([("txt", "so")], 400, "field 'txt' does not exist; the nearest is 'text'"),
        ([("words", "/etc/passwd")], 400, "field 'words' does not exist"),
        ([("audio", "/etc/passwd")], 400, "field 'audio' is a text, but a file was expected"),
        (["text"], 400, "field 'text' is a file, but a text was expected"),
        (["audio", ("format", "xml")], 400, "format 'xml' is not known; choose one of jsonl"),
        (["audio", ("format", "csv"), ("format", "csv")], 400, "'format' was sent twice"),
        (["audio", ("segments", "/etc/passwd")], 400, "segments '/etc/passwd' are not known"),
        (["audio", ("segments", "words")], 400, "segments by words need words with times"),
        (["audio", ("set", "speech.pad=1")], 400, "'speech.pad' does not exist; the nearest is"),
        (["audio", ("abstain", "few")], 400, "'abstain' is 'few', but .* from 0 to 1, as 0.2"),
        (["audio", ("abstain", "nan")], 400, "abstain is nan, but a share of errors of at least 0"),
        (["audio", ("channels", "perhaps")], 400, "'channels' is 'perhaps', but true or false"),
        (["audio", ("text", "a" * 10_001)], 400, "has 10001 characters, but at most 10000"),
        (["audio", ("text", "a" * 50_000)], 400, "the form cannot be read .Part exceeded"),
        (["audio"] * 33, 400, "the form cannot be read .Too many files. Maximum .* is 32"),
        ([("text", "a")] * 65, 400, "the form cannot be read .Too many fields. Maximum .* is 64"),
    ],
)
def test_a_mistake_is_one_sentence(client, clips, fields, status, sentence):
    sound = ("a.ogg", clips[0].read_bytes())
    files = [(one, sound) if isinstance(one, str) else (one[0], (None, one[1])) for one in fields]

    answer = client.post("/v1/recognize", files=files or [("set", (None, "longest_s=20"))])

    assert answer.status_code == status
    assert re.search(sentence, error_of(answer))


@pytest.mark.parametrize(
    ("content", "kind", "status", "sentence"),
    [
        (b"{}", "application/json", 415, "the body is 'application/json', but multipart"),
        (b"", "multipart/form-data", 400, "the form cannot be read (Missing boundary"),
        (b"\0" * 99, "multipart/form-data; boundary=x", 400, "cannot be read (Invalid multipart"),
    ],
)
def test_what_is_no_form_is_refused(client, content, kind, status, sentence):
    answer = client.post("/v1/recognize", content=content, headers={"content-type": kind})

    assert answer.status_code == status
    assert sentence in error_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/recognize", 405), ("GET", "/v1/files", 404)]
)
def test_what_is_not_there_is_told_as_json(client, method, path, status):
    answer = client.request(method, path)

    assert answer.status_code == status
    assert "/docs lists what there is" in error_of(answer)


def test_a_batch_is_refused_where_texts_and_recordings_do_not_match(client, clips):
    files = [("audio", ("a", clips[0].read_bytes())), *_texts("one", "two")]

    answer = client.post("/v1/batch", files=files)

    assert answer.status_code == 400
    assert "2 texts came with 1 recordings" in error_of(answer)


def test_the_page_of_the_api_has_examples(client):
    described = client.get("/openapi.json").json()

    answers = described["paths"]["/v1/recognize"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["example"]["label"] == "angry"
    assert "error" in answers["400"]["content"]["application/json"]["example"]
    assert client.get("/docs").status_code == 200


def test_the_server_counts_without_names(client, clips):
    client.post("/v1/recognize", files={"audio": ("secret name.ogg", clips[0].read_bytes())})

    told = client.get("/metrics").text

    assert 'mersa_requests_total{route="/v1/recognize",status="200"}' in told
    assert 'mersa_processes_ready{pool="judging"} 1.0' in told
    assert "secret" not in told


def _plain(prediction):
    return json.loads(json.dumps(prediction.as_dict()))


def _texts(*texts):
    return [("text", (None, text)) for text in texts]
