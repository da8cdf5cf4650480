import importlib.util
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from mersa.corpora import toy
from mersa.errors import CorpusError
from mersa.manifest import Manifest, Utterance

TOOL = Path(__file__).parents[2] / "tools" / "make_toy.py"
EMOTIONS = ("anger", "happy", "sad", "excited", "frustrated")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return toy.read()


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("make_toy", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_toy"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_toy"]


@pytest.fixture(scope="module")
def sounds(manifest: Manifest) -> dict[str, np.ndarray]:
    """Every recording by id, shape [samples]."""
    sounds = {}
    for utterance in manifest:
        path = manifest.audio_path(utterance)
        assert path is not None
        audio, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        assert audio.ndim == 1
        sounds[utterance.id] = audio
    return sounds


@pytest.fixture
def copy(tmp_path: Path, manifest: Manifest) -> Path:
    return Path(shutil.copytree(manifest.folder, tmp_path / "toy_data"))


def words(utterance: Utterance) -> tuple[str, ...]:
    return tuple(re.sub(r"[^\w\s]", "", utterance.text.lower()).split())


def in_the_voice(manifest: Manifest, emotion: str) -> list[Utterance]:
    return [one for one in manifest if one.emotion == emotion and one.column("carrier") != "words"]


def decibel(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(audio**2)))


def test_counts_are_those_that_must_come_out(manifest: Manifest) -> None:
    assert len(manifest) == 480
    assert Counter(one.emotion for one in manifest) == toy.COUNTS
    assert Counter(one.part for one in manifest) == {"train": 288, "validation": 72, "test": 120}


def test_labels_are_balanced_in_every_session_voice_and_part(manifest: Manifest) -> None:
    for column, share in (("session", 20), ("speaker", 10)):
        counts = Counter((one.column(column), one.emotion) for one in manifest)
        assert set(counts.values()) == {share}
    parts = Counter((one.part, one.emotion) for one in manifest)
    assert {parts["train", label] for label in toy.COUNTS} == {48}
    assert {parts["validation", label] for label in toy.COUNTS} == {12}
    assert {parts["test", label] for label in toy.COUNTS} == {20}


def test_half_of_every_emotion_is_in_the_words_and_half_in_the_voice(manifest: Manifest) -> None:
    counts = Counter((one.speaker, one.emotion, one.column("carrier")) for one in manifest)
    for (_, emotion, carrier), count in counts.items():
        assert (carrier, count) == ("none", 10) if emotion == "neutral" else count == 5
    assert {carrier for _, emotion, carrier in counts if emotion != "neutral"} == {"words", "voice"}


def test_two_voices_take_turns_in_dialogues_of_eight(manifest: Manifest) -> None:
    dialogues: dict[str, list[Utterance]] = {}
    for utterance in manifest:
        dialogues.setdefault(utterance.dialogue, []).append(utterance)
    assert len(dialogues) == 60
    for turns in dialogues.values():
        assert len(turns) == 8
        assert {one.speaker for one in turns[::2]}.isdisjoint(one.speaker for one in turns[1::2])
        assert {one.column("gender") for one in turns} == {"male", "female"}
    assert len({one.speaker for one in manifest}) == 8


def test_parts_share_no_dialogue_and_test_shares_no_voice(manifest: Manifest) -> None:
    by_part = {
        part: [one for one in manifest if one.part == part]
        for part in ("train", "validation", "test")
    }
    assert sum(len({one.dialogue for one in part}) for part in by_part.values()) == 60
    heard = {one.speaker for part in ("train", "validation") for one in by_part[part]}
    assert heard.isdisjoint(one.speaker for one in by_part["test"])
    assert {one.session for one in by_part["test"]} == {"4"}
    validation = Counter(one.session for one in by_part["validation"])
    assert validation == {"1": 24, "2": 24, "3": 24}


def test_no_text_stands_twice_and_each_has_5_to_12_words(manifest: Manifest) -> None:
    assert len({words(one) for one in manifest}) == 480
    assert all(5 <= len(words(one)) <= 12 for one in manifest)


def test_every_word_of_test_and_validation_stands_in_train(manifest: Manifest) -> None:
    known = {word for one in manifest if one.part == "train" for word in words(one)}
    assert {word for one in manifest for word in words(one)} <= known


def test_every_cue_stands_in_every_session_and_with_its_emotion_alone(
    manifest: Manifest, tool: ModuleType
) -> None:
    every_cue = [cue for emotion in EMOTIONS for cue in tool.cues(emotion)]
    assert len(set(every_cue)) == len(every_cue) == 5 * 8
    for emotion in EMOTIONS:
        for cue in tool.cues(emotion):
            pattern = re.compile(rf"\b{cue}\b", re.IGNORECASE)
            found = [one for one in manifest if pattern.search(one.text)]
            assert {(one.emotion, one.column("carrier")) for one in found} == {(emotion, "words")}
            assert {one.session for one in found} == {"1", "2", "3", "4"}
            assert sum(one.part == "train" for one in found) >= 2


def test_an_emotion_in_the_voice_says_what_neutral_says(
    manifest: Manifest, tool: ModuleType
) -> None:
    neutral = re.compile("|".join(tool.cues("neutral")), re.IGNORECASE)
    assert all((one.column("carrier") == "words") != bool(neutral.search(one.text))
               for one in manifest)  # fmt: skip
    lengths: dict[tuple[str, str], Counter[int]] = {}
    for one in manifest:
        group = lengths.setdefault((one.emotion, one.column("carrier")), Counter())
        group[tool.syllables(" ".join(words(one)))] += 1
    expected = {length: 4 * count for length, count in Counter(tool.SYLLABLES).items()}
    for (_, carrier), found in lengths.items():
        assert found == {k: (2 if carrier == "none" else 1) * n for k, n in expected.items()}


def test_the_whole_folder_takes_at_most_3_megabytes(manifest: Manifest) -> None:
    files = [path for path in manifest.folder.rglob("*") if path.is_file()]
    assert len(files) == 481
    assert sum(path.stat().st_size for path in files) <= 3_000_000


def test_durations_are_those_of_the_decoded_recordings(
    manifest: Manifest, sounds: dict[str, np.ndarray]
) -> None:
    for one in manifest:
        assert one.duration_s == pytest.approx(len(sounds[one.id]) / 16_000, abs=1e-4)
        assert 1.2 < len(sounds[one.id]) / 16_000 < 4.5
        assert np.abs(sounds[one.id]).max() < 1.0  # not clipped


def test_every_voice_speaks_an_emotion_at_its_level(
    manifest: Manifest, sounds: dict[str, np.ndarray]
) -> None:
    for speaker in sorted({one.speaker for one in manifest}):
        level = {}
        for emotion in toy.COUNTS:
            chosen = [one for one in in_the_voice(manifest, emotion) if one.speaker == speaker]
            level[emotion] = np.mean([decibel(sounds[one.id]) for one in chosen])
        for loud, soft in (
            ("anger", "happy"),
            ("anger", "frustrated"),
            ("excited", "happy"),
            ("happy", "neutral"),
            ("frustrated", "neutral"),
            ("neutral", "sad"),
        ):
            assert level[loud] > level[soft] + 2, (speaker, loud, soft)


def test_emotions_differ_in_pace(
    manifest: Manifest, sounds: dict[str, np.ndarray], tool: ModuleType
) -> None:
    pace = {}  # syllables a second
    for emotion in toy.COUNTS:
        chosen = in_the_voice(manifest, emotion)
        syllables = sum(tool.syllables(" ".join(words(one))) for one in chosen)
        pace[emotion] = syllables / sum(len(sounds[one.id]) / 16_000 for one in chosen)
    for fast, slow in (
        ("anger", "happy"),
        ("excited", "happy"),
        ("happy", "neutral"),
        ("neutral", "sad"),
        ("neutral", "frustrated"),
    ):
        assert pace[fast] > 1.05 * pace[slow], (fast, slow)


def test_words_of_emotion_are_spoken_like_neutral(
    manifest: Manifest, sounds: dict[str, np.ndarray]
) -> None:
    def measure(carrier: str) -> tuple[float, float]:
        audios = [sounds[one.id] for one in manifest if one.column("carrier") == carrier]
        levels = [decibel(audio) for audio in audios]
        return float(np.mean(levels)), float(np.mean([len(audio) for audio in audios])) / 16_000

    assert measure("words")[0] == pytest.approx(measure("none")[0], abs=0.5)  # dB
    assert measure("words")[1] == pytest.approx(measure("none")[1], rel=0.04)


def test_the_tool_plans_the_shipped_sentences(manifest: Manifest, tool: ModuleType) -> None:
    planned = {one.id: one for one in tool.plan(tool.SEED)}
    assert len(planned) == 480
    for one in manifest:
        assert {**vars(planned[one.id]), "duration_s": one.duration_s} == vars(one)


def test_the_tool_says_what_to_install_where_espeak_is_absent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "--out", str(tmp_path / "out")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "espeak-ng was not found on the PATH" in done.stderr
    assert "apt-get install espeak-ng" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_absent_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no .*manifest\.csv.*reinstall mersa"):
        toy._read(tmp_path)


def test_an_absent_row_is_refused(copy: Path) -> None:
    lines = (copy / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "manifest.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"holds 479 utterances .* but 480 .*reinstall mersa"):
        toy._read(copy)


def test_an_absent_recording_is_refused(copy: Path) -> None:
    (copy / "audio" / "toy_s2_d03_u05.ogg").unlink()
    with pytest.raises(
        CorpusError, match=r"479 recordings, but 480 .*toy_s2_d03_u05\.ogg.*reinstall mersa"
    ):
        toy._read(copy)
