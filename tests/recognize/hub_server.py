"""A Hub on this machine: what huggingface_hub asks of it to publish and fetch a model."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import yaml


@contextmanager
def hub_server():
    """Serve an empty Hub; gives its `url`, its `models` by id, and what was `asked`."""
    state = {"models": {}, "asked": [], "private": {}, "tokens": set()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, state))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state["url"] = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Hub(BaseHTTPRequestHandler):
    def __init__(self, state, *args):
        self.state = state
        super().__init__(*args)

    def do_POST(self):
        parts = self._parts()
        body = self._body()
        self.state["tokens"].add(self.headers.get("Authorization", ""))
        if parts == ["api", "repos", "create"]:
            facts = json.loads(body)
            name = f"{facts['organization']}/{facts['name']}"
            self.state["private"].setdefault(name, facts.get("visibility") or facts.get("private"))
            status = 409 if name in self.state["models"] else 200
            self.state["models"].setdefault(name, {})
            self._json({"url": f"{self.state['url']}/{name}"}, status=status)
        elif parts == ["api", "validate-yaml"]:
            front = json.loads(body)["content"].split("---\n")[1]
            errors = [] if isinstance(yaml.safe_load(front), dict) else [{"message": "no mapping"}]
            self._json({"errors": errors, "warnings": []}, status=400 if errors else 200)
        elif parts[4:5] == ["preupload"]:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for one in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif parts[4:5] == ["commit"]:
            held = self.state["models"]["/".join(parts[2:4])]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    one = line["value"]
                    held[one["path"]] = base64.b64decode(one["content"])
            commit = _commit(held)
            address = f"{self.state['url']}/{'/'.join(parts[2:4])}/commit/{commit}"
            self._json({"commitUrl": address, "commitOid": commit})
        else:
            self._missing("RepoNotFound")

    def do_GET(self):
        parts = self._parts()
        is_api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_api else parts[:2])
        held = self.state["models"].get(name)
        if held is None:
            self._missing("RepoNotFound")
        elif is_api and parts[4:5] == ["tree"]:
            self._json([_entry(path, data) for path, data in held.items()])
        elif is_api:
            siblings = [{"rfilename": path} for path in held]
            self._json({"id": name, "sha": _commit(held), "siblings": siblings})
        elif "/".join(parts[4:]) in held:
            self._answer(held["/".join(parts[4:])], _commit(held))
        else:
            self._missing("EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def _parts(self):
        path = urlsplit(self.path).path
        self.state["asked"].append(f"{self.command} {path}")
        return path.strip("/").split("/")

    def _body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, value, *, status=200):
        self._answer(json.dumps(value).encode(), status=status)

    def _missing(self, kind):
        self.send_response(404)
        self.send_header("X-Error-Code", kind)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, data, commit="", *, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


def _entry(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}


def _oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _commit(held):
    return hashlib.sha1(repr(sorted((p, _oid(d)) for p, d in held.items())).encode()).hexdigest()
