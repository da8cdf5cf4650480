"""Pair the words of one corpus with recordings of another, label by label: an artificial corpus.

No open corpus at hand has informative words *and* its own sound. A stand-in that is real on both
sides gives each utterance of a corpus of words (with parts, as MELD) a recording of the same
emotion from a corpus of sound (as RAVDESS). The two are not of one speech act: every figure from
such a corpus is to be called artificially paired, and to stand beside controls with the words and
with the sound shuffled (`data.shuffle`).

Nothing leaks by the pairing. Dialogues stay in the part that the words' corpus gives them, and the
speakers of the recordings are parted too: each is heard in one part only. Recordings are dealt out
like cards, so that each is heard as often as any other of its part and emotion, and one that fits
no utterance is left out. Where words are many and recordings few, a training learns the recordings
by heart: `--most 5` lets each be heard at most five times, and leaves out the texts beyond.

    python tools/pair_corpora.py meld/manifest.csv ravdess/manifest.csv --most 5 --out paired
    mersa train paired/manifest.csv --protocol official --set data.labels=meld-4 ...
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mersa.corpora.place import contents, count_table, place
from mersa.errors import ManifestError, MersaError
from mersa.manifest import PARTS, Manifest, Utterance, make_manifest, read_manifest

SHARES = (0.6, 0.1, 0.3)
"""Of the speakers of the recordings: train, validation, test. A test part needs many voices."""


def pair(words: Manifest, sound: Manifest, *, seed: int, most: int | None = None) -> Manifest:
    """Give each utterance of `words` a recording of `sound` with the same emotion.

    Args:
        words: Its utterances have texts and parts.
        sound: Its utterances have recordings and speakers.
        seed: Of the cut of the speakers and of the deal.
        most: How often a recording may be heard; texts beyond are left out at random. None: as
            often as there are texts.

    Returns:
        The utterances whose emotion both have. The column `clip` names the recording's utterance,
        `clip_speaker` its speaker; speaker and dialogue are those of the words.

    Raises:
        ManifestError: If words lack parts, or a part has no recording of an emotion.
    """
    random = np.random.default_rng(seed)
    part_of = _parted(sorted({one.speaker for one in sound if one.speaker}), random)
    emotions = {one.emotion for one in words} & {one.emotion for one in sound} - {""}
    clips: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for one in sound:
        if one.audio and one.speaker:
            clips[part_of[one.speaker], one.emotion].append(one)
    paired: list[Utterance] = []
    for part in PARTS:
        for emotion in sorted(emotions):
            texts = [one for one in words if (one.part, one.emotion) == (part, emotion)]
            if texts and not clips[part, emotion]:
                raise ManifestError(
                    f"no speaker of the {part} part has a recording of {emotion!r} for the "
                    f"{len(texts)} texts of it; choose another --seed or a larger corpus of sound"
                )
            if most is not None and len(texts) > most * len(clips[part, emotion]):
                chosen = random.permutation(len(texts))[: most * len(clips[part, emotion])]
                texts = [texts[place] for place in sorted(chosen)]
            dealt = _dealt(clips[part, emotion], len(texts), random)
            paired += [_joined(*both) for both in zip(texts, dealt, strict=True)]
    if not paired:
        raise ManifestError(
            "no text has a part and an emotion that a recording has; prepare a corpus of words "
            "that has parts, as meld, and one of sound that shares emotions with it"
        )
    return make_manifest(paired, sound.folder)


def _parted(speakers: Sequence[str], random: np.random.Generator) -> dict[str, str]:
    """Put each speaker into one part, at least one into each."""
    if len(speakers) < len(PARTS):
        raise ManifestError(
            f"the corpus of sound has {len(speakers)} named speakers, but each part needs one of "
            f"its own; give at least {len(PARTS)}"
        )
    order = random.permutation(speakers).tolist()
    num_validation = max(1, round(SHARES[1] * len(order)))
    num_test = max(1, round(SHARES[2] * len(order)))
    held_out = ["validation"] * num_validation + ["test"] * num_test
    parts = ["train"] * (len(order) - len(held_out)) + held_out
    return dict(zip(order, parts, strict=True))


def _dealt(clips: Sequence[Utterance], number: int, random: np.random.Generator) -> list[Utterance]:
    """Deal so many clips from shuffled decks, each clip once a deck."""
    dealt: list[Utterance] = []
    while len(dealt) < number:
        dealt += [clips[place] for place in random.permutation(len(clips))]
    return dealt[:number]


def _joined(text: Utterance, clip: Utterance) -> Utterance:
    return replace(
        text,
        audio=clip.audio,
        start_s=clip.start_s,
        end_s=clip.end_s,
        duration_s=clip.duration_s,
        extras={"clip": clip.id, "clip_speaker": clip.speaker},
    )


def _whole(least: int, need: str) -> Callable[[str], int]:
    """Return what reads a whole number of at least so much; `need` is told otherwise."""

    def integer(text: str) -> int:  # argparse tells this name of what is no number
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} was given, but {need}")
        return number

    return integer


def main() -> None:
    """Write the paired manifest, and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", type=Path, help="manifest with texts and parts")
    parser.add_argument("sound", type=Path, help="manifest with recordings and speakers")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--most", type=_whole(1, "at least 1 is needed"), help="how often a recording may be heard"
    )
    parser.add_argument("--seed", type=_whole(0, "a seed is 0 or more"), default=0)
    given = parser.parse_args()
    try:
        sound = read_manifest(given.sound)
        paired = pair(read_manifest(given.words), sound, seed=given.seed, most=given.most)
        placed = place(paired, given.out)
    except MersaError as error:
        sys.exit(f"pair_corpora: {error}")
    print(count_table(placed).text())
    print(f"artificially paired; {contents(placed)}")


if __name__ == "__main__":
    main()
