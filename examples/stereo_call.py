"""Judge a call that was recorded in stereo, each channel a speaker, and tell who was how.

    python examples/stereo_call.py RUN call.wav --names agent customer --only customer

In the European Union it is forbidden to infer the emotions of people at work, except for medical or
safety reasons (docs/responsible-use.md); with `--only` the other channel is not judged at all.
`mersa predict RUN call.wav --channels` judges both, in memory that does not grow with the call.
"""

import argparse

import soundfile as sf

from mersa import Recognizer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", help="a run folder")
parser.add_argument("call", help="a WAV, FLAC, Ogg or MP3 file in two channels")
parser.add_argument("--names", nargs=2, default=["left", "right"], help="who speaks in which")
parser.add_argument("--only", help="the one name that is judged")
asked = parser.parse_args()

recognizer = Recognizer.from_pretrained(asked.run)
samples, rate = sf.read(asked.call, dtype="float32", always_2d=True)  # (n, channels)

for name, channel in zip(asked.names, samples.T, strict=True):
    if asked.only not in (None, name):
        continue
    prediction = recognizer.predict(channel, sampling_rate=rate, segmentation="speech")
    print(f"{name}: {prediction.label or 'no speech'} ({prediction.confidence:.0%})")
    for one in prediction.segments:
        print(f"  {one.start_s:7.2f} to {one.end_s:7.2f} s  {one.label} ({one.confidence:.0%})")
