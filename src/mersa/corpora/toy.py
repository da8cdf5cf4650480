"""The synthetic corpus that ships inside mersa: 480 short sentences, spoken by a machine.

It is no evidence about emotion in people. It shows that a system runs, and whether it uses both the
words and the voice: half of the emotional utterances carry the emotion in the words and are spoken
neutrally, half carry it in the voice and say something neutral. From the words alone, or from the
voice without understanding the words, 200 emotional utterances look like the 80 neutral ones, and
280 of 480 right (.583) is what one can expect at best.

Four sessions of two voices each hold 15 dialogues of eight turns. Sessions 1 to 3 are train and
validation, session 4 is test, so nobody is heard in both. Beyond the contract the manifest has the
columns `carrier` (`words`, `voice` or `none`) and `gender`.

`tools/make_toy.py` wrote the sentences with a grammar and spoke them with eSpeak NG 1.51, moving
pitch, pitch range, rate, pauses, level and spectral tilt by emotion. Grammar, sentences and tool
are mersa's own, under Apache-2.0. eSpeak NG is under GPL-3.0-or-later, which covers that program
and not the speech that it puts out; the recordings are given under Apache-2.0 with the rest.
"""

from collections import Counter
from pathlib import Path

from mersa.errors import CorpusError
from mersa.manifest import Manifest, read_manifest

COUNTS = {
    "anger": 80,
    "happy": 80,
    "sad": 80,
    "neutral": 80,
    "excited": 80,
    "frustrated": 80,
}
"""Utterances of each label that must come out."""

_FOLDER = Path(__file__).with_name("toy_data")
_REMEDY = "reinstall mersa: pip install --force-reinstall mersa"


def read() -> Manifest:
    """Read the corpus from where mersa is installed.

    Returns:
        480 utterances; the manifest's folder is the installed one, to be read and not written.

    Raises:
        CorpusError: If the manifest, an utterance or a recording is not there.
    """
    return _read(_FOLDER)


def _read(folder: Path) -> Manifest:
    path = folder / "manifest.csv"
    if not path.is_file():
        raise CorpusError(f"the toy corpus has no {path}, but mersa ships it; {_REMEDY}")
    manifest = read_manifest(path)
    found = Counter(utterance.emotion for utterance in manifest)
    if found != COUNTS:
        raise CorpusError(
            f"the toy corpus at {folder} holds {len(manifest)} utterances ({_list(found)}), but "
            f"{sum(COUNTS.values())} ({_list(COUNTS)}) were expected; {_REMEDY}"
        )
    there = {file.name for file in (folder / "audio").glob("*.ogg")}
    absent = [utterance.audio for utterance in manifest if Path(utterance.audio).name not in there]
    if absent:
        raise CorpusError(
            f"the toy corpus at {folder} holds {len(manifest) - len(absent)} recordings, but "
            f"{len(manifest)} were expected (first absent: {absent[0]}); {_REMEDY}"
        )
    return manifest


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{label} {counts[label]}" for label in sorted(counts))
