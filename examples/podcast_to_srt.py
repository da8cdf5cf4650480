"""Turn a podcast into subtitles that tell the emotion of each stretch of speech.

    python examples/podcast_to_srt.py RUN podcast.mp3 podcast.srt --words podcast.vtt

Words may come from subtitles or a transcript with times (.srt, .vtt, .json), or be heard with
`--transcribe small` (pip install 'mersa[asr]'). Without either the sound alone is judged. The
recording is read in blocks, so its length costs no memory.
"""

import argparse
from pathlib import Path

from mersa import Recognizer
from mersa.recognize.formats import to_srt
from mersa.recognize.settings import make_segmentation
from mersa.recognize.transcribe import FasterWhisper

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", help="a run folder")
parser.add_argument("podcast", help="any media file")
parser.add_argument("out", type=Path, help="the .srt file to write")
parser.add_argument("--words", type=Path, help="words with times")
parser.add_argument("--transcribe", help="a model of faster-whisper, as small")
asked = parser.parse_args()

recognizer = Recognizer.from_pretrained(asked.run)
prediction = recognizer.predict(
    asked.podcast,
    # A pause of 0.8 s ends a stretch, and no stretch is longer than 12 s: readable subtitles.
    segmentation=make_segmentation("speech", ["speech.min_silence_s=0.8", "longest_s=12"]),
    words=asked.words,
    transcriber=FasterWhisper(asked.transcribe) if asked.transcribe else None,
)
asked.out.write_text(to_srt([(asked.podcast, prediction)]), encoding="utf-8")
print(f"{len(prediction.segments)} stretches, mostly {prediction.label}; written: {asked.out}")
