"""The Hub is played by a small server on this machine."""

import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import folders
import pytest
from huggingface_hub import constants

from mersa.encoders.hub import ALIASES, PINNED, commit_of, resolve
from mersa.encoders.text import TextEncoder
from mersa.errors import EncoderError

COMMIT = "5eed" * 10
UNPINNED = "someone/small-bert"
NOWHERE = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens
SMALL = {"config.json", "tokenizer_config.json", "vocab.txt"}


class Hub(BaseHTTPRequestHandler):
    """The endpoints that snapshot_download reads: the revision, its tree, its files."""

    def __init__(self, *args, content, commits, asked, **more):
        self.content, self.commits, self.asked = content, commits, asked
        super().__init__(*args, **more)

    def do_GET(self):
        path = urlsplit(self.path).path
        self.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) > 5 and parts[5] in self.commits:
            sha = self.commits[parts[5]]
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                for name, data in self.content.items()
            ]
            answer = {"id": "/".join(parts[2:4]), "sha": sha, "siblings": []}
            self._answer(json.dumps(tree if parts[4] == "tree" else answer).encode())
        elif parts[2:3] == ["resolve"] and "/".join(parts[4:]) in self.content:
            self._answer(self.content["/".join(parts[4:])], self.commits[parts[3]])
        else:
            self.send_response(404)
            kind = "RevisionNotFound" if self.path.endswith("v9") else "RepoNotFound"
            self.send_header("X-Error-Code", kind)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, data, commit=""):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


def _oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the repository holds: a BERT, and the other formats that are not wanted."""
    folder = folders.write_bert(tmp_path_factory.mktemp("bert"))
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found | {"pytorch_model.bin": b"unread", "onnx/config.json": b"{}", "README.md": b"#"}


@pytest.fixture
def hub(files):
    """Serve the files; `content` may be changed, `asked` grows with each request."""
    pinned = PINNED["google-bert/bert-base-uncased"]
    state = {"content": dict(files), "asked": []}
    state["commits"] = {"main": COMMIT, "v2": COMMIT, COMMIT: COMMIT, pinned: pinned}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, **state))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state["url"] = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def connect(monkeypatch, tmp_path):
    """Let huggingface_hub talk to this address, with an empty cache."""

    def to(url, cache="cache"):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / cache))

    return to


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_a_pinned_model_is_fetched_once_and_then_needs_no_network(hub, connect, capfd):
    connect(hub["url"])
    first = resolve("bert-base-uncased")
    asked = list(hub["asked"])

    second = resolve("google-bert/bert-base-uncased")

    assert second == first
    assert hub["asked"] == asked
    assert commit_of(first) == PINNED["google-bert/bert-base-uncased"]
    assert names_in(first) == SMALL | {"model.safetensors"}
    assert (first / "vocab.txt").read_text().startswith("[PAD]")
    assert capfd.readouterr() == ("", "")


def test_a_fetched_model_encodes(hub, connect):
    connect(hub["url"])

    encoder = TextEncoder("bert-base-uncased")

    assert encoder.commit == PINNED["google-bert/bert-base-uncased"]
    assert encoder.encode(["so happy"]).frames.shape == (1, 4, 16)


@pytest.mark.parametrize("revision", [None, "v2", COMMIT])
def test_a_model_without_a_pin_gives_the_commit_that_came(hub, connect, revision):
    connect(hub["url"])
    first = resolve(UNPINNED, revision=revision)
    connect(NOWHERE)

    second = resolve(UNPINNED, revision=revision)

    assert commit_of(first) == COMMIT
    assert second == first


def test_a_pickle_is_fetched_where_there_is_nothing_else(hub, connect):
    connect(hub["url"])
    del hub["content"]["model.safetensors"]

    assert names_in(resolve(UNPINNED)) == SMALL | {"pytorch_model.bin"}


@pytest.mark.parametrize("lost", ["vocab.txt", "model.safetensors", "config.json"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_download_that_was_broken_off_is_finished(hub, connect, lost, listed):
    connect(hub["url"])
    folder = resolve(UNPINNED)
    (folder / lost).unlink()
    if not listed:  # what was fetched by an older huggingface_hub
        shutil.rmtree(folder.parents[1] / "trees")
    folder.parents[2].rename(folder.parents[2].with_name("moved"))
    connect(hub["url"], cache="moved")

    assert names_in(resolve(UNPINNED)) == SMALL | {"model.safetensors"}


def test_a_pickle_that_was_broken_off_is_finished(hub, connect):
    connect(hub["url"])
    del hub["content"]["model.safetensors"]
    folder = resolve(UNPINNED)
    (folder / "pytorch_model.bin").unlink()

    assert resolve(UNPINNED) == folder
    assert names_in(folder) == SMALL | {"pytorch_model.bin"}


def test_an_unknown_id_is_named(hub, connect):
    connect(hub["url"])

    with pytest.raises(EncoderError, match=r"'so/misspelt' is neither .*model .* check the spell"):
        resolve("so/misspelt", revision="nowhere")


def test_an_unknown_revision_is_named(hub, connect):
    connect(hub["url"])

    with pytest.raises(EncoderError, match=r"has no revision 'v9' .* give a branch, tag or commit"):
        resolve(UNPINNED, revision="v9")


def test_a_repository_without_a_tokenizer_is_named(hub, connect):
    connect(hub["url"])
    del hub["content"]["vocab.txt"]

    with pytest.raises(EncoderError, match=r"lacks config.json, weights, or its .*choose another"):
        resolve(UNPINNED)


def test_without_a_network_the_remedy_is_named(connect):
    connect(NOWHERE)

    with pytest.raises(
        EncoderError,
        match=r"'facebook/wav2vec2-base' is not in the local cache and cannot be fetched .*"
        r"\(.+\); connect to the network once, give a folder with its files, or choose an "
        r"encoder that needs no download \(text.name=tiny, audio.name=mel\)$",
    ):
        resolve("facebook/wav2vec2-base")


def test_a_folder_is_used_as_it_is(tmp_path):
    assert resolve(str(tmp_path)) == tmp_path
    assert commit_of(tmp_path) is None


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(
        EncoderError, match=r"revision 'v1' is given for the folder .* leave it out"
    ):
        resolve(str(tmp_path), revision="v1")


@pytest.mark.parametrize("name", ["./models/bert", "/no/such/folder", "a/b/c", "two words", ""])
def test_a_name_that_is_nothing_is_refused(name):
    with pytest.raises(
        EncoderError, match=r"neither a folder nor an id .* give an existing folder"
    ):
        resolve(name)


def test_every_pin_is_a_commit_and_every_alias_has_one():
    assert all(len(commit) == 40 and int(commit, 16) for commit in PINNED.values())
    assert set(ALIASES.values()) <= set(PINNED)
