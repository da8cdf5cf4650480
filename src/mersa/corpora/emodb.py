"""EmoDB, the Berlin database: ten actors read ten German sentences in seven emotions.

Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss (2005), "A Database of German Emotional Speech",
Interspeech 2005. A name as `03a01Fa` gives speaker, text, emotion (a letter of the German word)
and version. Published are 535 of about 800 recordings, chosen by a listening test, so emotions,
speakers and texts are not balanced.
"""

import re
from pathlib import Path

from mersa.corpora.filenames import Recording, Release, read_release
from mersa.emotions import to_word
from mersa.manifest import Manifest, Utterance

COUNTS = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happy": 71,
    "sad": 62,
    "neutral": 79,
}
"""Utterances of each emotion, as published."""

NUM_SPEAKERS = 10

_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "anxiety",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
# Gender, and age in years.
_SPEAKERS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(root: Path, *, strict: bool = False) -> Manifest:
    """Read the recordings of the folder `wav`.

    Args:
        root: The folder that holds `wav`, or that folder itself.
        strict: Make what is incomplete or foreign an error instead of a warning.

    Returns:
        One utterance a recording; extras are `gender`, `age`, `script` (the text's code, as `a01`)
        and `take` (the version's letter).

    Raises:
        CorpusError: As `mersa.corpora.filenames.read_release` does.
    """
    return read_release(root, _RELEASE, _describe, strict=strict)


def _describe(recording: Recording) -> Utterance:
    gender, age = recording.look_up("speaker", _SPEAKERS)
    return Utterance(
        id=recording.name,
        audio=recording.audio,
        text=recording.look_up("text", _TEXTS),
        emotion=to_word(recording.look_up("emotion", _EMOTIONS)),
        speaker=f"emodb_{recording.fields['speaker']}",
        language="de",
        duration_s=recording.duration_s,
        extras={
            "gender": gender,
            "age": age,
            "script": recording.fields["text"],
            "take": recording.fields["version"],
        },
    )


_RELEASE = Release(
    corpus="EmoDB",
    pattern=re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])"),
    example="03a01Fa.wav",
    remedy="name the folder that holds wav/ of the unpacked release",
    counts=COUNTS,
    num_speakers=NUM_SPEAKERS,
)
