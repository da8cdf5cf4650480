"""Each benchmark runs at a tiny size and says what it promises; no time is judged here."""

import contextlib
import io
import json
import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
KEYS = {
    "benchmark",
    "date",
    "command",
    "machine",
    "threads",
    "device",
    "sizes",
    "seconds",
    "ratios",
}
RATIOS = {
    "encode_text": {"one at a time", "batches", "bf16, batches"},
    "encode_audio": {
        "vggish, default batches",
        "wav2vec2, default batches",
        "wav2vec2, bf16, default batches",
    },
    "latency": {"all clips", "the shortest", "the longest"},
    "startup": {"mersa --help"},
    "memory": {"largest"},
    "serve": {"rate beside in process", "rate beside in process, processor"},
    "long_recordings": {"memory", "time a second of sound"},
}


@pytest.fixture(scope="module", params=RATIOS)
def told(request):
    """What a benchmark says: its name, its table and its last line."""
    script = FOLDER / f"{request.param}.py"
    said, threads = io.StringIO(), torch.get_num_threads()
    # In this process, where torch is imported already.
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.syspath_prepend(str(FOLDER))
        patch.setattr("sys.argv", [script.name, "--quick"])
        runpy.run_path(str(script), run_name="__main__")
    torch.set_num_threads(threads)
    *table, last = said.getvalue().splitlines()
    return request.param, table, json.loads(last)


def test_a_benchmark_ends_with_what_it_measured(told):
    name, table, facts = told

    assert facts["benchmark"] == name
    assert set(facts) >= KEYS
    assert RATIOS[name] <= set(facts["ratios"])
    assert all(value > 0 for value in [*facts["ratios"].values(), *facts["seconds"].values()])
    assert set(facts["machine"]) >= {"cpu", "cores", "system", "python"}
    assert facts["threads"] == 1
    assert len(table) >= 2
    assert facts["machine"]["cpu"] in table[0]


def test_lengths_are_those_of_iemocap(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import common

    words, seconds = common.draw_words(500), common.draw_seconds(500)

    assert sum(words) / 500 == pytest.approx(11.5, rel=0.02)
    assert sum(seconds) / 500 == pytest.approx(4.55, rel=0.02)
    assert sorted(seconds)[475] == pytest.approx(11.1, rel=0.03)
    # Half of the sound lies in clips longer than the median by share.
    ordered, share = sorted(seconds), common.draw_seconds_by_share(101)[50]
    longer = sum(one for one in ordered if one > share)
    assert longer / sum(ordered) == pytest.approx(0.5, abs=0.02)
    assert sum(seconds[:100]) != pytest.approx(sum(sorted(seconds)[:100]), rel=0.5)
