"""nEMO: nine actors speak ninety Polish sentences in six emotions.

Christop (2024), "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024, pages
12111-12116; GitHub amu-cai/nEMO, whose `data.tsv` and `samples/` are read. A name as `EB0_anger_1`
gives speaker, emotion and sentence. Not every actor recorded every emotion whole.

The sentences are under the corpus' own licence (CC BY-NC-SA 4.0), so they come from `data.tsv` and
not from this file; its rows give them by recording, and by number for recordings without a row.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mersa.corpora.beside import read_beside
from mersa.corpora.filenames import Recording, Release, read_release
from mersa.corpora.release import warn_or_refuse
from mersa.emotions import to_word
from mersa.manifest import Manifest, Utterance

COUNTS = {
    "anger": 749,
    "fear": 736,
    "happy": 749,
    "neutral": 809,
    "sad": 769,
    "surprise": 669,
}
"""Utterances of each emotion, as published."""

NUM_SPEAKERS = 9

_EMOTIONS = {
    name: name for name in ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
}
# Gender, and age in years.
_SPEAKERS = {
    "EB0": ("female", "27"),
    "IC0": ("female", "28"),
    "KD0": ("female", "28"),
    "KS0": ("male", "23"),
    "MK0": ("female", "23"),
    "MP0": ("male", "24"),
    "SM0": ("male", "24"),
    "TP0": ("male", "26"),
    "WR0": ("male", "23"),
}


def read(root: Path, *, strict: bool = False) -> Manifest:
    """Read the recordings of the folder `samples`, with the texts of `data.tsv`.

    Args:
        root: The folder that holds `data.tsv` and `samples`, one above it, or `samples` itself.
        strict: Make what is incomplete or foreign an error instead of a warning.

    Returns:
        One utterance a recording, its text empty where no table gives it; extras are `gender`,
        `age` and `script` (the sentence's number).

    Raises:
        CorpusError: As `mersa.corpora.filenames.read_release` does, if the table lacks a column,
            or if texts are missing and `strict` is set.
    """
    texts = _read_texts(root)
    manifest = read_release(root, _RELEASE, partial(_describe, texts), strict=strict)
    mute = [utterance.id for utterance in manifest if not utterance.text]
    if mute:
        warn_or_refuse(
            f"nEMO at {root} has no text for {len(mute):,} of {len(manifest):,} utterances, as "
            f"{mute[0]}, since data.tsv is absent or does not list them",
            "put the data.tsv of https://github.com/amu-cai/nEMO beside the recordings",
            strict=strict,
        )
    return manifest


def _read_texts(root: Path) -> dict[str, str]:
    """Return texts by recording and, for recordings without a row, by number."""
    texts = {}
    for row in read_beside(root, "data.tsv", "samples", ("file_id", "raw_text")):
        match = _RELEASE.pattern.fullmatch(Path(row["file_id"]).stem)
        if match:
            texts[match[0]] = texts[match["sentence"]] = row["raw_text"]
    return texts


def _describe(texts: Mapping[str, str], recording: Recording) -> Utterance:
    gender, age = recording.look_up("speaker", _SPEAKERS)
    number = recording.fields["sentence"]
    return Utterance(
        id=recording.name,
        audio=recording.audio,
        text=texts.get(recording.name) or texts.get(number, ""),
        emotion=to_word(recording.look_up("emotion", _EMOTIONS)),
        speaker=f"nemo_{recording.fields['speaker']}",
        language="pl",
        duration_s=recording.duration_s,
        extras={"gender": gender, "age": age, "script": number},
    )


_RELEASE = Release(
    corpus="nEMO",
    pattern=re.compile(r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>[1-9]\d?)"),
    example="EB0_anger_1.wav",
    remedy="name a clone of https://github.com/amu-cai/nEMO, not the Parquet files of Hugging Face",
    counts=COUNTS,
    num_speakers=NUM_SPEAKERS,
)
