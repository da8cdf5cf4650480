"""One answer: `Recognizer.predict` against the bare forward passes of its encoders and network.

Row III.8: frames of BERT-base and wav2vec2-base, MERSA with cross-attention. An array at 16 kHz
and its words are given.

python benchmarks/latency.py [--quick] [--threads 1] [--clips 12] [--repeats 7]
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import (
    SAMPLE_RATE,
    FloatArray,
    arguments,
    clock_of,
    draw_seconds,
    draw_words,
    finish,
    in_turn,
    make_texts,
    make_waveforms,
    ratio,
    scratch,
    use_threads,
    write_bert,
    write_wav2vec2,
)
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from mersa import build
from mersa.config import apply_assignments, make_config
from mersa.emotions import label_set
from mersa.encoders.huggingface import quiet
from mersa.paper import find_row
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.scoring import RunScorer
from mersa.weights import Run

ROW = "III.8"


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", clips=12, repeats=7)
    use_threads(asked.threads)
    count, repeats = (2, 1) if asked.quick else (asked.clips, asked.repeats)
    lengths = sorted(draw_seconds(count))
    texts = make_texts(sorted(draw_words(count)))
    waveforms = make_waveforms(lengths)
    with scratch() as folder:
        run = _run(folder, quick=asked.quick, device=asked.device)
        recognizer = Recognizer(RunScorer([run], device=asked.device))
        bare = _bare(folder, run, device=asked.device)
        taken = [
            in_turn(
                _sides(recognizer, bare, waveform, text), repeats=repeats, clock=clock_of(asked)
            )
            for waveform, text in zip(waveforms, texts, strict=True)
        ]
    # One round over all clips, by the side; and each clip's own.
    rounds = {
        side: [sum(one) for one in zip(*(clip[side] for clip in taken), strict=True)]
        for side in ("predict", "bare")
    }
    own = [ratio(clip["predict"], clip["bare"]) for clip in taken]
    ratios = {
        "all clips": ratio(rounds["predict"], rounds["bare"]),
        "the shortest": own[0],
        "the longest": own[-1],
    }
    medians = {
        f"{side}, {name}": statistics.median(one)
        for side in ("predict", "bare")
        for name, one in (
            ("all clips", [value / count for value in rounds[side]]),
            ("the shortest", taken[0][side]),
            ("the longest", taken[-1][side]),
        )
    }
    rows = [
        (
            f"{name}, {length:.2f} s",
            f"predict {1000 * medians[f'predict, {name}']:8.1f} ms, "
            f"bare {1000 * medians[f'bare, {name}']:8.1f} ms {ratios[name]:7.3f} x",
        )
        for name, length in (
            ("all clips", statistics.mean(lengths)),
            ("the shortest", lengths[0]),
            ("the longest", lengths[-1]),
        )
    ]
    finish(
        "latency",
        rows,
        sizes={
            "row": ROW,
            "models": "bert-base, wav2vec2-base" if not asked.quick else "tiny",
            "clips": count,
            "mean_seconds": round(statistics.mean(lengths), 3),
            "repeats": repeats,
        },
        seconds=medians,
        ratios=ratios,
        threads=asked.threads,
        device=asked.device,
    )


def _sides(
    recognizer: Recognizer,
    bare: Callable[[FloatArray, str], Tensor],
    waveform: FloatArray,
    text: str,
) -> dict[str, Callable[[], object]]:
    return {
        "predict": lambda: recognizer.predict(waveform, text, sampling_rate=SAMPLE_RATE),
        "bare": lambda: bare(waveform, text),
    }


def _run(folder: Path, *, quick: bool, device: str) -> Run:
    """Build what a trained run of the row would hold."""
    write_bert(folder / "bert", quick=quick)
    write_wav2vec2(folder / "wav2vec2", quick=quick)
    names = [f"text.name={folder / 'bert'}", f"audio.name={folder / 'wav2vec2'}"]
    config = make_config(apply_assignments(find_row(ROW).settings(), names))
    text = build.text_encoder(config.text, device=device)
    audio = build.audio_encoder(config.audio, device=device)
    labels = label_set(config.data.labels)
    network = build.network(config, text, audio, len(labels.labels)).to(device).eval()
    # As `mersa.weights.load_run`: what the encoders are is known before the first answer.
    _ = text.fingerprint, audio.fingerprint
    return Run(folder, config, labels, text, audio, network)


def _bare(folder: Path, run: Run, *, device: str) -> Callable[[FloatArray, str], Tensor]:
    """Return the forward passes alone; what goes into them is made once a clip and kept."""
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder / "bert")
        bert = AutoModel.from_pretrained(folder / "bert").to(device).eval()
        wav2vec2 = AutoModel.from_pretrained(folder / "wav2vec2").to(device).eval()
    kept: dict[str, Any] = {}

    @torch.inference_mode()
    def answer(waveform: FloatArray, text: str) -> Tensor:
        key = f"{text} {len(waveform)}"
        if key not in kept:
            normal = (waveform - waveform.mean()) / waveform.std()
            kept[key] = (
                tokenizer(text, return_tensors="pt").to(device),
                torch.from_numpy(normal)[None].to(device),
            )
        tokens, samples = kept[key]
        words = bert(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        sound = wav2vec2(samples).last_hidden_state
        logits: Tensor = run.network(
            words,
            words.new_ones(words.shape[:2], dtype=torch.bool),
            sound,
            sound.new_ones(sound.shape[:2], dtype=torch.bool),
        )
        return logits.cpu()

    return answer


if __name__ == "__main__":
    main()
