"""MELD: dialogue of the TV series Friends, seven emotions, words, sound and picture.

Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea, "MELD: A Multimodal Multi-Party Dataset for
Emotion Recognition in Conversations", ACL 2019; github.com/declare-lab/MELD. Parts are published,
and share speakers and episodes. Beyond the contract the manifest has the columns `sentiment`,
`season`, `episode`, `origin` (`s08e21`), `origin_start_s`, `origin_end_s` and, where there are
clips, `fault`.

Words. Numbers of dialogues begin again in each part, so the part is in every name: id
`train_dia0003_utt07`, dialogue `train_dia0003`. The tables were published twice. The older ones
hold Windows-1252 punctuation as control characters (U+0092 for an apostrophe) and no-break spaces;
these are turned into what was meant, with which both give the same text.

Clips. They are taken as released, `.mp4`, or extracted to `.flac` or `.wav` beside it; the released
one wins, because its sound is 5.1 in nearly all of them and `mersa.audio` takes the front centre,
where film keeps its speech. `final_videos_testdia3_utt4.mp4` of the test part stands for
`dia3_utt4.mp4`, which holds another sound. A `fault` is told where

* there is no such clip (`no clip`; known: dev dia110_utt7), so `audio` is empty;
* it has no sound that can be decoded (`does not decode`; known: train dia125_utt3): `audio` is
  empty;
* it was cut wrongly (`clip of 305.0 s for times of 304.9 s`): it is longer than 60 s, while the
  longest sound utterance has 41 s, or longer than 20 s and three times what its times say (known:
  test dia38_utt4 and dia220_utt0): `audio` is empty;
* it is shorter than 0.1 s (`clip of 0.064 s`): `audio` is kept.

`duration_s` is EndTime minus StartTime. Where that is below 0.05 s, which is one picture of film,
or above 60 s, it is the length of the clip instead, or empty.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mersa.corpora.meld_clips import LONGEST_S, Clips, find_clips, report_clips
from mersa.corpora.meld_release import CLIP_FOLDERS, REMEDY, refuse_packed, table
from mersa.corpora.meld_tables import Line, read_table
from mersa.corpora.release import check_folder, compare_counts
from mersa.manifest import PART_NAMES, Manifest, Utterance, make_manifest
from mersa.progress import Progress, Silent

COUNTS = {
    "train": {
        **{"neutral": 4710, "happy": 1743, "surprise": 1205, "anger": 1109},
        **{"sad": 683, "disgust": 271, "fear": 268},
    },
    "validation": {
        **{"neutral": 470, "happy": 163, "surprise": 150, "anger": 153},
        **{"sad": 111, "disgust": 22, "fear": 40},
    },
    "test": {
        **{"neutral": 1256, "happy": 402, "surprise": 281, "anger": 345},
        **{"sad": 208, "disgust": 68, "fear": 50},
    },
}
"""Utterances of each part and emotion that must come out."""

DIALOGUES = {"train": 1038, "validation": 114, "test": 280}
"""Dialogues of each part that must come out; train has no dialogue 60."""

_SHORTEST_S = 0.05


def read(root: Path, *, strict: bool = False, progress: Progress | None = None) -> Manifest:
    """Read MELD from the folder that was unpacked or cloned.

    Tables are looked for in `root`, `root/data/MELD` and `root/MELD.Raw`, and there also in
    `train`, `dev` and `test`; clips in `train_splits`, `dev_splits_complete` and
    `output_repeated_splits_test` at the same places. Without clips the words are read alone. Each
    clip is opened and its first sound decoded, which takes a millisecond or two.

    Args:
        root: The folder.
        strict: Make it an error where counts differ from the release, where only some folders of
            clips are there, or where more clips are of no use than in the release (`FAULTS` of
            `mersa.corpora.meld_clips`); otherwise these are warnings.
        progress: Counts the clips that were opened.

    Returns:
        The manifest; its folder is `root`.

    Raises:
        CorpusError: If the folder or a table is missing, an archive is not unpacked, a table is
            broken, or the release is incomplete and `strict` is set.
    """
    check_folder(root, "MELD", REMEDY)
    refuse_packed(root)
    lines = [line for part in CLIP_FOLDERS for line in read_table(table(root, part), part)]
    compare_counts(root, "MELD", _counts(lines), _expected(), strict=strict)
    clips = find_clips(root, lines, progress or Silent())
    report_clips(root, clips, strict=strict)
    return make_manifest((_utterance(line, clips) for line in lines), root)


def _utterance(line: Line, clips: Clips) -> Utterance:
    length_s = clips.length_s.get(line.id, math.nan)
    duration_s: float | None = round(line.times_s, 3)
    if not _SHORTEST_S <= line.times_s <= LONGEST_S:
        usable = line.id in clips.audio and not math.isnan(length_s)
        duration_s = round(length_s, 3) if usable else None
    extras = {
        "sentiment": line.sentiment,
        "season": str(line.season),
        "episode": str(line.episode),
        "origin": f"s{line.season:02d}e{line.episode:02d}",
        "origin_start_s": f"{line.start_s:.3f}",
        "origin_end_s": f"{line.end_s:.3f}",
    }
    if line.id in clips.fault:
        fault = clips.fault[line.id]
        extras["fault"] = fault.says if fault else ""
    return Utterance(
        id=line.id,
        audio=clips.audio.get(line.id, ""),
        text=line.text,
        emotion=line.emotion,
        speaker=line.speaker,
        dialogue=line.dialogue,
        part=PART_NAMES.get(line.part, line.part),
        language="en",
        duration_s=duration_s,
        extras=extras,
    )


def _counts(lines: Sequence[Line]) -> Counter[str]:
    parts = [PART_NAMES.get(line.part, line.part) for line in lines]
    found = Counter(
        f"{part} {line.emotion or 'unlabelled'}" for part, line in zip(parts, lines, strict=True)
    )
    dialogues = {(part, line.dialogue) for part, line in zip(parts, lines, strict=True)}
    return found + Counter(f"{part} dialogues" for part, _ in dialogues)


def _expected() -> dict[str, int]:
    return {
        **{f"{part} {word}": n for part, words in COUNTS.items() for word, n in words.items()},
        **{f"{part} dialogues": n for part, n in DIALOGUES.items()},
    }
