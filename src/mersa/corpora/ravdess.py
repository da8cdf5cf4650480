"""RAVDESS: 24 actors speak two sentences in eight emotions, in North American English.

Livingstone and Russo (2018), PLoS ONE 13(5): e0196391; Zenodo record 1188976, of which
`Audio_Speech_Actors_01-24.zip` is read. A name as `03-01-06-01-02-01-12` gives modality (03 is
sound alone), vocal channel (01 speech, 02 song), emotion, intensity, statement, repetition and
actor. The words carry no emotion. The take 03-01-03-01-02-01-07 is the same recording as
03-01-03-01-02-02-07 in the release.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mersa.corpora.filenames import Recording, Release, read_release
from mersa.emotions import to_word
from mersa.manifest import Manifest, Utterance

COUNTS = {
    "neutral": 96,
    "calm": 192,
    "happy": 192,
    "sad": 192,
    "anger": 192,
    "fear": 192,
    "disgust": 192,
    "surprise": 192,
}
"""Spoken utterances of each emotion, as published; neutral was recorded in one intensity alone."""

NUM_SPEAKERS = 24

_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_INTENSITIES = {"01": "normal", "02": "strong"}
_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_GENDERS = {
    f"{actor:02d}": "male" if actor % 2 else "female" for actor in range(1, NUM_SPEAKERS + 1)
}


def read(root: Path, *, strict: bool = False) -> Manifest:
    """Read the spoken, audio-only part; songs and videos are counted in a warning.

    Args:
        root: The folder that holds `Actor_01` to `Actor_24`, one above it, or one with all files.
        strict: Make what is incomplete or foreign an error instead of a warning.

    Returns:
        One utterance a recording; extras are `gender`, `script` (the statement, 1 or 2),
        `intensity` (`normal` or `strong`) and `take` (the repetition, 1 or 2).

    Raises:
        CorpusError: As `mersa.corpora.filenames.read_release` does.
    """
    return read_release(root, _RELEASE, _describe, strict=strict)


def _describe(recording: Recording) -> Utterance:
    actor = recording.fields["actor"]
    return Utterance(
        id=recording.name,
        audio=recording.audio,
        text=recording.look_up("statement", _STATEMENTS),
        emotion=to_word(recording.look_up("emotion", _EMOTIONS)),
        speaker=f"ravdess_{actor}",
        language="en",
        duration_s=recording.duration_s,
        extras={
            "gender": recording.look_up("actor", _GENDERS),
            "script": str(int(recording.fields["statement"])),
            "intensity": recording.look_up("intensity", _INTENSITIES),
            "take": str(int(recording.fields["repetition"])),
        },
    )


def _left_out(fields: Mapping[str, str]) -> str:
    if fields["modality"] != "03":
        return "video"
    return "" if fields["channel"] == "01" else "song"


_RELEASE = Release(
    corpus="RAVDESS",
    pattern=re.compile(
        r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
        r"-(?P<statement>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)"
    ),
    example="03-01-06-01-02-01-12.wav",
    remedy="name the folder that holds Actor_01 to Actor_24 of Audio_Speech_Actors_01-24.zip",
    counts=COUNTS,
    num_speakers=NUM_SPEAKERS,
    left_out=_left_out,
    further_suffixes=(".mp4",),
)
