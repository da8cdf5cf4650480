"""docs/serve.md says what the server does."""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mersa.serve.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
CURLS = [line.strip() for line in PAGE.splitlines() if line.startswith("    curl ")]


@pytest.mark.parametrize("line", CURLS)
def test_examples_are_answered(client, clips, line):
    *words, url = shlex.split(line)[1:]
    files = []
    for option, word in zip(words[::2], words[1::2], strict=True):
        assert option in ("-F", "-H")
        name, _, value = word.partition("=")
        if option == "-F":
            sent = (value[1:], clips[0].read_bytes()) if value[0] == "@" else (None, value)
            files.append((name, sent))

    answer = client.post(urlsplit(url).path, files=files)

    assert answer.status_code == 200
    assert "error" not in answer.text


def test_there_are_examples():
    assert len(CURLS) >= 4


def test_every_limit_is_in_the_table_with_its_default():
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `\w+`", line)]
    told = {}
    for row in rows:
        names, values = row.split("|")[1:3]
        numbers = [number.replace(",", "") for number in re.split(r", (?=\d+ *$)", values.strip())]
        found = [n for n in re.findall(r"`(\w+)`", names) if n in Limits.model_fields]
        told |= dict(zip(found, map(float, numbers), strict=True))

    assert told == {name: float(value) for name, value in Limits().model_dump().items()}
