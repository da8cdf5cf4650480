"""CREMA-D: 91 actors speak twelve English sentences in six emotions.

Cao, Cooper, Keutmann, Gur, Nenkova and Verma (2014), IEEE Transactions on Affective Computing 5(4);
GitHub CheyneyComputerScience/CREMA-D, whose `AudioWAV` and `VideoDemographics.csv` are read. A name
as `1001_DFA_ANG_XX` gives actor, sentence, emotion and level. The emotion is the one that was
acted, not the one that listeners voted for.

1076_MTI_SAD_XX holds digital silence in the release. It counts as found and is kept out, with a
warning, so 7,441 of 7,442 utterances come out. Older copies call one file 1040_ITH_SAD_X; its id
is 1040_ITH_SAD_XX all the same.
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
    "anger": 1271,
    "disgust": 1271,
    "fear": 1271,
    "happy": 1271,
    "neutral": 1087,
    "sad": 1271,
}
"""Recordings of each emotion, as published; the silent one is among the sad."""

NUM_SPEAKERS = 91

_TABLE = "VideoDemographics.csv"
_EMOTIONS = {code: code.lower() for code in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "": ""}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}


def read(root: Path, *, strict: bool = False) -> Manifest:
    """Read the recordings of the folder `AudioWAV`.

    Args:
        root: The folder that holds `AudioWAV`, one above it, or `AudioWAV` itself.
        strict: Make what is incomplete or foreign an error instead of a warning.

    Returns:
        One utterance a recording; extras are `script` (the sentence's code), `intensity` (`low`,
        `medium`, `high`, or empty if unspecified), and `gender`, `age`, `race` and `ethnicity`,
        empty where `VideoDemographics.csv` is absent.

    Raises:
        CorpusError: As `mersa.corpora.filenames.read_release` does, if the table lacks a column,
            or if it is absent and `strict` is set.
    """
    rows = read_beside(root, _TABLE, "AudioWAV", ("ActorID", "Age", "Sex", "Race", "Ethnicity"))
    actors = {row["ActorID"]: row for row in rows}
    manifest = read_release(root, _RELEASE, partial(_describe, actors), strict=strict)
    speakers = {one.speaker for one in manifest}
    unknown = sorted({one.speaker for one in manifest if not one.extras["gender"]})
    if unknown:
        warn_or_refuse(
            f"CREMA-D at {root} has no gender for {len(unknown)} of {len(speakers)} actors, as "
            f"{unknown[0]}, since {_TABLE} is absent or does not list them",
            f"put the {_TABLE} of the release beside AudioWAV",
            strict=strict,
        )
    return manifest


def _describe(actors: Mapping[str, Mapping[str, str]], recording: Recording) -> Utterance:
    code = recording.fields
    actor = actors.get(code["actor"], {})
    return Utterance(
        id=f"{code['actor']}_{code['sentence']}_{code['emotion']}_{code['level'] or 'XX'}",
        audio=recording.audio,
        text=recording.look_up("sentence", _SENTENCES),
        emotion=to_word(recording.look_up("emotion", _EMOTIONS)),
        speaker=f"cremad_{code['actor']}",
        language="en",
        duration_s=recording.duration_s,
        extras={
            "gender": actor.get("Sex", "").lower(),
            "age": actor.get("Age", ""),
            "race": actor.get("Race", ""),
            "ethnicity": actor.get("Ethnicity", ""),
            "script": code["sentence"],
            "intensity": _LEVELS[code["level"]],
        },
    )


_RELEASE = Release(
    corpus="CREMA-D",
    pattern=re.compile(
        r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?:(?P<level>LO|MD|HI)|XX?)"
    ),
    example="1001_DFA_ANG_XX.wav",
    remedy="name the folder that holds AudioWAV of the release",
    counts=COUNTS,
    num_speakers=NUM_SPEAKERS,
    faults={"1076_MTI_SAD_XX": "it holds digital silence in the release"},
)
