"""An emulated MELD of a few dialogues: the published layout, invented lines, clips of tones."""

import csv
import wave
from pathlib import Path

import numpy as np

_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
_LINES = {
    "anger": "don't go now, leave.",
    "joy": "i am so happy now",
    "sadness": "i am not so happy, sad",
    "neutral": "i go now",
    "surprise": "so now?",
}
_TONES = {"anger": 900, "joy": 600, "sadness": 150, "neutral": 300, "surprise": 1200}
_NUM_DIALOGUES = {"train": 4, "dev": 2, "test": 3}


def write_meld(folder: Path, *, clips: bool = True) -> Path:
    """Write the three tables, ten utterances a dialogue, and a clip of 0.5 s for each."""
    for part, num in _NUM_DIALOGUES.items():
        rows = []
        for dialogue in range(num):
            for utterance in range(10):
                emotion = list(_LINES)[utterance % 5]
                rows.append(
                    {
                        "Sr No.": len(rows) + 1,
                        "Utterance": _LINES[emotion] + (" now" if utterance > 4 else ""),
                        "Speaker": f"{part}{utterance % 2}",
                        "Emotion": emotion,
                        "Sentiment": "neutral",
                        "Dialogue_ID": dialogue,
                        "Utterance_ID": utterance,
                        "Season": 1,
                        "Episode": 1,
                        "StartTime": f"00:00:0{utterance % 10},000",
                        "EndTime": f"00:00:0{utterance % 10},500",
                    }
                )
                if clips:
                    name = f"dia{dialogue}_utt{utterance}.wav"
                    _write_tone(folder / _FOLDERS[part] / name, _TONES[emotion], dialogue)
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / f"{part}_sent_emo.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def _write_tone(path: Path, tone: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(8000) / 16_000
    noise = np.random.default_rng([seed, tone]).normal(0, 0.02, 8000)
    samples = 0.3 * np.sin(2 * np.pi * tone * time) + noise
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
