"""Make the synthetic corpus `toy` that ships inside mersa: 480 spoken sentences and a manifest.

Sentences come from the grammar below, their voices from eSpeak NG, their prosody from `PROSODY`,
and all chance from one seed. Needs the program `espeak-ng` (1.51 made the shipped files):

    python tools/make_toy.py
    python tools/make_toy.py --out /tmp/toy --seed 7

Two runs give the same manifest and, with the same eSpeak NG and libsndfile, the same decoded audio.
The Ogg files themselves differ in a few bytes, since every Ogg stream draws a number of its own.

The design is balanced in blocks. A session is five blocks of three dialogues, and in every block
each of the two voices speaks every emotion once in its words and once in its voice, and neutral
twice. One block of sessions 1 to 3 is validation; session 4 is test.
"""

import argparse
import math
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mersa.emotions import LABEL_SETS
from mersa.manifest import Utterance, make_manifest, write_manifest

SEED = 35  # the first from 20 on with which every cue stands at least twice in train
OUT = Path(__file__).parents[1] / "src" / "mersa" / "corpora" / "toy_data"
SAMPLE_RATE = 16_000  # Hz
OPUS_LEVEL = 0.96  # libsndfile's compression level: 6 + 250 * (1 - 0.96) = 16 kbit/s
MARGIN_S = 0.07  # silence kept before and after the speech
BLOCKS, DIALOGUES_PER_BLOCK, TURNS = 5, 3, 8
LABELS = LABEL_SETS["iemocap-6"].labels


@dataclass(frozen=True)
class Voice:
    """A speaker: an eSpeak NG voice, moved in pitch and pace so that no two are alike."""

    name: str
    gender: str
    espeak: str  # language+variant
    semitones: float  # added to the variant's own pitch
    pace: float  # times the rate of `PROSODY`
    level_db: float  # added to the level of `PROSODY`


# One session a row. The fourth is spoken by voices that the other three do not hold.
SESSIONS = (
    (
        Voice("toy_m1", "male", "en-us+m3", -1.5, 1.00, 0.0),
        Voice("toy_f1", "female", "en-gb-x-rp+f4", -1.0, 1.04, -0.5),
    ),
    (
        Voice("toy_m2", "male", "en-gb-scotland+m1", 1.0, 0.96, 1.0),
        Voice("toy_f2", "female", "en-us+f3", 1.0, 0.98, 0.5),
    ),
    (
        Voice("toy_m3", "male", "en-us-nyc+m2", 3.0, 1.03, -0.5),
        Voice("toy_f3", "female", "en-us+f5", -1.5, 1.00, 0.0),
    ),
    (
        Voice("toy_m4", "male", "en-gb-x-rp+m6", 1.0, 1.01, 0.5),
        Voice("toy_f4", "female", "en-us+f2", 0.0, 0.99, -0.5),
    ),
)


@dataclass(frozen=True)
class Prosody:
    """How an emotion sounds. Each voice adds its own offsets, each utterance a little chance."""

    semitones: float  # pitch against the voice's own
    range_percent: int  # pitch range, 100 is eSpeak NG's own
    words_per_minute: int
    gap: int  # pause between words, in eSpeak NG's units of 10 ms at its usual rate
    tilt_db: float  # dB an octave, around 1 kHz: loud voices are bright, soft ones dull
    level_db: float  # dB relative to full scale, root mean square of the trimmed speech


PROSODY = {
    "anger": Prosody(-5.0, 200, 225, 0, 5.0, -23.5),
    "happy": Prosody(4.0, 200, 188, 0, 0.5, -29.0),
    "sad": Prosody(-4.0, 30, 132, 0, -6.0, -40.0),
    "neutral": Prosody(0.0, 90, 172, 0, 0.0, -34.5),
    "excited": Prosody(9.5, 300, 230, 0, 1.0, -25.0),
    "frustrated": Prosody(-2.5, 100, 145, 3, -3.0, -29.0),
}

# Syllables of the ten sentences that one session speaks of one label with one carrier: the same
# for all, so that the length of a recording does not tell words of emotion from neutral ones.
SYLLABLES = (9, 9, 10, 10, 10, 11, 11, 11, 12, 12)

# A sentence is "[prefix] opener topic [tail]" or "[prefix] topic [tail] closer". An emotion in the
# words is its opener or closer; the rest is drawn alike for all. An emotion has four key words,
# each in one opener and one closer and in no other emotion; the words around them stand in neutral
# sentences too. No commas, questions or shouts: eSpeak NG would speak them differently.
OPENERS = {
    "anger": ("I am furious about", "I am angry about", "I really hate", "I am in a rage about"),
    "happy": ("I am happy about", "I am so glad about", "I really enjoy", "I have a smile for"),
    "sad": (
        "I am sad about",
        "I am in tears about",
        "I am lonely without",
        "I am grieving over",
    ),
    "neutral": (
        "I am looking at",
        "I am asking about",
        "I am on time for",
        "I am waiting for",
        "I really need",
        "I have a form for",
        "I wrote a note on",
        "I read about",
    ),
    "excited": (
        "I am thrilled about",
        "I am excited about",
        "I am so eager for",
        "I am amazed by",
    ),
    "frustrated": (
        "I am fed up with",
        "I am stuck again on",
        "I am annoyed by",
        "I am frustrated with",
    ),
}
CLOSERS = {
    "anger": ("makes me furious", "makes me so angry", "is what I hate", "puts me in a rage"),
    "happy": ("makes me so happy", "makes me glad", "is what I enjoy", "makes me smile"),
    "sad": ("makes me so sad", "leaves me in tears", "leaves me lonely", "keeps me grieving"),
    "neutral": (
        "is on the list",
        "starts at nine",
        "makes me a note",
        "leaves me an hour",
        "keeps me at a desk",
        "is what I read",
        "puts me in a queue",
        "has a new number",
    ),
    "excited": ("leaves me thrilled", "gets me excited", "makes me so eager", "keeps me amazed"),
    "frustrated": (
        "leaves me fed up",
        "keeps me stuck again",
        "makes me so annoyed",
        "leaves me frustrated",
    ),
}
TOPICS = (
    "the meeting", "the parcel", "the garden", "the concert", "the letter", "the printer",
    "the house", "the kitchen", "the report", "the ticket", "the new job", "the exam",
    "the party", "the bicycle", "the phone call", "the holiday", "the music class",
    "the wedding", "the match", "the school trip", "the cake", "the lamp", "the painting",
    "the visit",
)  # fmt: skip
TAILS = (
    "", "", "on Monday", "at work", "from my brother", "in the city", "for my sister",
    "next week", "at the office", "near the station", "of my uncle", "this evening",
)  # fmt: skip
PREFIXES = ("", "", "", "well", "you know", "as I said", "look", "by the way")

Audio = npt.NDArray[np.float32]


def main() -> None:
    """Read the command line, make the corpus, print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--out", type=Path, default=OUT, help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    arguments = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        raise SystemExit(
            "espeak-ng was not found on the PATH, but it speaks the sentences; install it "
            "(Debian, Ubuntu: apt-get install espeak-ng) and run this tool again"
        )
    make_toy(arguments.out, arguments.seed)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {len(list(arguments.out.glob('audio/*.ogg')))} files, {size} bytes")


def make_toy(out: Path, seed: int) -> None:
    """Write `audio/*.ogg` and `manifest.csv` below `out`."""
    utterances = list(plan(seed))
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for stale in (out / "audio").glob("toy_*.ogg"):
        stale.unlink()
    voices = {voice.name: voice for session in SESSIONS for voice in session}

    def record(utterance: Utterance) -> Utterance:
        chance = random.Random(f"{seed} {utterance.id}")
        emotion = utterance.emotion if utterance.extras["carrier"] == "voice" else "neutral"
        audio = _speak(utterance.text, voices[utterance.speaker], PROSODY[emotion], chance)
        path = out / utterance.audio
        soundfile.write(
            path, audio, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL
        )
        decoded, rate = soundfile.read(path)
        fields = {**vars(utterance), "duration_s": round(len(decoded) / rate, 4)}
        return Utterance(**fields)

    # eSpeak NG is a process of its own, so two threads keep two cores busy.
    with ThreadPoolExecutor(2) as pool:
        write_manifest(make_manifest(pool.map(record, utterances), out), out / "manifest.csv")


def plan(seed: int) -> Iterator[Utterance]:
    """Yield every utterance, all but its duration: who says what, when, and how."""
    chance = random.Random(seed)
    used: set[str] = set()
    for session, voices in enumerate(SESSIONS, start=1):
        texts = {
            (label, carrier): _sentences(label if carrier == "words" else "neutral", used, chance)
            for label in LABELS
            # Ten sentences each, five a voice; neutral gets its twenty as two tens.
            for carrier in (("none", "none again") if label == "neutral" else ("words", "voice"))
        }
        validation = chance.randrange(BLOCKS) if session < len(SESSIONS) else None
        for block in range(BLOCKS):
            turns = {}
            for voice in voices:
                turns[voice.name] = list(texts)
                chance.shuffle(turns[voice.name])
            for turn in range(DIALOGUES_PER_BLOCK * TURNS):
                voice = voices[turn % len(voices)]
                label, carrier = turns[voice.name].pop()
                dialogue = f"s{session}_d{block * DIALOGUES_PER_BLOCK + turn // TURNS + 1:02d}"
                name = f"toy_{dialogue}_u{turn % TURNS + 1:02d}"
                if validation is None:
                    part = "test"
                else:
                    part = "validation" if block == validation else "train"
                yield Utterance(
                    id=name,
                    audio=f"audio/{name}.ogg",
                    text=texts[label, carrier].pop(),
                    emotion=label,
                    speaker=voice.name,
                    dialogue=dialogue,
                    session=str(session),
                    part=part,
                    language="en",
                    extras={"carrier": carrier.split()[0], "gender": voice.gender},
                )


def cues(label: str) -> tuple[str, ...]:
    """Return the openers and closers of a label; of an emotion, what gives it away."""
    return OPENERS[label] + CLOSERS[label]


def _sentences(label: str, used: set[str], chance: random.Random) -> list[str]:
    """Draw ten new sentences of `SYLLABLES`; of an emotion, every cue stands in one or two."""
    openers, closers = OPENERS[label], CLOSERS[label]
    chosen = chance.sample(openers, 4) + chance.sample(closers, 4)
    chosen += [chance.choice(openers), chance.choice(closers)]
    chance.shuffle(chosen)
    lengths = chance.sample(SYLLABLES, len(SYLLABLES))
    return [
        _sentence(cue, label, length, used, chance)
        for cue, length in zip(chosen, lengths, strict=True)
    ]


def _sentence(
    cue: str, label: str, syllable_count: int, used: set[str], chance: random.Random
) -> str:
    for _ in range(10_000):
        topic = f"{chance.choice(TOPICS)} {chance.choice(TAILS)}".strip()
        middle = f"{cue} {topic}" if cue in OPENERS[label] else f"{topic} {cue}"
        text = f"{chance.choice(PREFIXES)} {middle}".strip()
        if syllables(text) == syllable_count and 5 <= len(text.split()) <= 12 and text not in used:
            used.add(text)
            return text[0].upper() + text[1:] + "."
    raise RuntimeError(f"no new sentence of {syllable_count} syllables with {cue!r}")


def syllables(text: str) -> int:
    """Count syllables roughly: groups of vowels, without a silent e at a word's end."""
    count = 0
    for word in text.lower().split():
        groups = "".join(letter if letter in "aeiouy" else " " for letter in word).split()
        silent = word.endswith("e") and not word.endswith("le") and len(groups) > 1
        count += max(1, len(groups) - silent)
    return count


def _speak(text: str, voice: Voice, prosody: Prosody, chance: random.Random) -> Audio:
    """Return speech at 16 kHz, shape [samples], trimmed and at its level."""
    semitones = prosody.semitones + voice.semitones + chance.uniform(-0.6, 0.6)
    rate = prosody.words_per_minute * voice.pace * chance.uniform(0.97, 1.03)
    level_db = prosody.level_db + voice.level_db + chance.uniform(-1.0, 1.0)
    # eSpeak NG's pitch 0..99 doubles the frequency every 50 steps; 50 is the voice's own.
    pitch = min(99, max(0, round(50 + 50 * semitones / 12)))
    spoken = f'<speak><prosody range="{prosody.range_percent}%">{escape(text)}</prosody></speak>'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(
            ["espeak-ng", "-v", voice.espeak, "-m", "-a", "60", "-p", str(pitch),
             "-s", str(round(rate)), "-g", str(prosody.gap), "-w", str(path), spoken],
            check=True,
        )  # fmt: skip
        audio, own_rate = soundfile.read(path, dtype="float64")
    audio = _trim(_tilt(soxr.resample(audio, own_rate, SAMPLE_RATE), prosody.tilt_db))
    audio *= 10 ** (level_db / 20) / math.sqrt(np.mean(audio**2))
    return np.pad(audio, round(MARGIN_S * SAMPLE_RATE)).astype(np.float32)


def _tilt(audio: npt.NDArray[np.float64], tilt_db: float) -> npt.NDArray[np.float64]:
    frequencies = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE).clip(100.0)
    gains = 10 ** (tilt_db / 20 * np.log2(frequencies / 1000.0))
    return np.fft.irfft(np.fft.rfft(audio) * gains, len(audio))


def _trim(audio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
    return audio[loud[0] : loud[-1] + 1].copy()


if __name__ == "__main__":
    main()
