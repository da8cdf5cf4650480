"""Tell the emotion of one recording, with its words if they are known.

    python examples/one_recording.py RUN call.wav --text "I have told you so"

RUN is a folder that `mersa train` made. A recording of up to 20 s is judged as a whole, a longer
one by the stretches of speech in it.
"""

import argparse

from mersa import Recognizer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", help="a run folder")
parser.add_argument("recording", help="any media file")
parser.add_argument("--text", help="its words")
asked = parser.parse_args()

recognizer = Recognizer.from_pretrained(asked.run)
prediction = recognizer.predict(asked.recording, text=asked.text)

print(f"{prediction.label} ({prediction.confidence:.0%})")
for label, score in sorted(prediction.scores.items(), key=lambda pair: -pair[1]):
    print(f"  {label:12} {score:.3f}")
for segment in prediction.segments:
    print(f"{segment.start_s:.2f} to {segment.end_s:.2f} s: {segment.label} {segment.text}")
for note in prediction.notes:
    print(note)
