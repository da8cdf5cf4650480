"""Train a model on a table of your own recordings and score it on speakers that it has not heard.

    python examples/own_corpus.py recordings.csv work/ --epochs 40

The table has the columns audio, text, emotion and speaker; `mersa prepare table --columns` and
`--map` take others. The encoders here need no download; leave `text.name` and `audio.name` out for
BERT and wav2vec 2.0, which are better and are fetched once.
"""

import argparse
from pathlib import Path

from mersa.config import make_config
from mersa.corpora.catalogue import prepare
from mersa.encoders.cache import FeatureCache
from mersa.evaluation import score_cell
from mersa.experiment import train
from mersa.held_out import evaluate

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("table", type=Path, help="CSV, TSV, JSON lines or Parquet")
parser.add_argument("out", type=Path, help="a folder for the manifest, the frames and the run")
parser.add_argument("--epochs", type=int, default=40)
asked = parser.parse_args()

settings = {
    "data": {"protocol": "speaker", "folds": 2},
    "text": {"name": "tiny"},
    "audio": {"name": "mel"},
    "train": {"epochs": asked.epochs},
}
prepare("table", asked.table, asked.out / "corpus")
cache = FeatureCache(asked.out / "frames")
run = asked.out / "run"
train(asked.out / "corpus" / "manifest.csv", make_config(settings), run, cache=cache)
scores = evaluate(run, cache=cache)["parts"]["test"]

print(f"balanced accuracy {score_cell(scores, 'balanced_accuracy')}")
print(f"of always saying the commonest emotion {scores['majority']['balanced_accuracy']:.3f}")
print(f"the run, with its model card: {run}")
