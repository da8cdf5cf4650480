"""Judge every recording of a folder, and write one row a segment into a CSV file.

    python examples/folder.py RUN recordings/ answers.csv

A bad recording is told and the rest go on. `mersa predict RUN recordings/ --out answers.csv` does
the same; this is where to begin if something of your own is to happen to each answer.
"""

import argparse
import sys
from pathlib import Path

from mersa import Recognizer
from mersa.errors import MersaError
from mersa.recognize.formats import to_csv
from mersa.recognize.inputs import find_recordings
from mersa.recognize.many import PredictOptions, predict_many
from mersa.recognize.settings import make_segmentation

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", help="a run folder")
parser.add_argument("folder", help="a folder of media files, searched in depth")
parser.add_argument("out", type=Path, help="the CSV file to write")
asked = parser.parse_args()

recognizer = Recognizer.from_pretrained(asked.run)
recordings = find_recordings([asked.folder])
answers = []
options = PredictOptions(make_segmentation())
for recording, answer in predict_many(recognizer, recordings, options):
    if isinstance(answer, MersaError):
        print(f"{recording.name}: {answer}", file=sys.stderr)
    else:
        answers.append((recording.name, answer))
asked.out.write_text(to_csv(answers, labels=recognizer.labels.labels), encoding="utf-8")
print(f"{len(answers)} of {len(recordings)} recordings judged; written: {asked.out}")
