"""Which words and which moments a fused network reads for one utterance.

The head of 3M-SER and MERSA reads one summary of the fused frames; each fused frame takes shares of
all frames of words and of sound, by attention. Two answers are given, each of shares that sum to 1
over words and sound together:

- `fused`: what the summary takes of each frame that enters the last attention. In MERSA with
  cross-attention such a frame is already an answer: at a word's place stands the sound that the
  word asked for (Eq. (3)), at a moment's place the words that the moment asked for (Eq. (4)).
- `traced`: the same followed back through the attentions before it to the encoders' frames
  (attention rollout: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", without
  their term for residual connections, since these networks have none).

Shares are means over heads, and before dropout. They say where a network takes its input from and
not what an answer would be without it; encoders mix neighbouring words and moments beforehand.

Shapes: Lt text frames, La audio frames, L both, W words, D width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoder, missing
from mersa.errors import ConfigError
from mersa.networks import CrossAttentionFusion, MixedLayers, SelfAttentionFusion

if TYPE_CHECKING:
    from mersa.weights import Run

NO_WORDS = "(no words)"


@dataclass(frozen=True)
class Shares:
    """Attention of a fused network on the frames of one utterance.

    Attributes:
        fused: Share of each frame that enters the last attention, (L,), words first; sums to 1.
        traced: The same, followed back to the encoders' frames, (L,); sums to 1.
        text_asks_audio: What each text frame asks of each audio frame, (Lt, La), rows sum to 1;
            None without cross-attention.
        audio_asks_text: The other direction, (La, Lt).
    """

    fused: FloatArray
    traced: FloatArray
    text_asks_audio: FloatArray | None
    audio_asks_text: FloatArray | None


@dataclass(frozen=True)
class Attention:
    """Attention over the words and the time of one utterance.

    Attributes:
        words: The words as the encoder reads them, its own marks included, W.
        starts_s: Second at which each audio frame begins, (La,).
        ends_s: Second at which it ends, (La,).
        fused_words: Share of each word's frames in `Shares.fused`, (W,).
        fused_sound: Share of each audio frame, (La,).
        traced_words: The same of `Shares.traced`, (W,).
        traced_sound: (La,).
        text_asks_audio: What the frames of a word ask of each audio frame on average, (W, La), rows
            sum to 1; None without cross-attention.
        audio_asks_text: What each audio frame asks of each word, (La, W), rows sum to 1.
    """

    words: tuple[str, ...]
    starts_s: FloatArray
    ends_s: FloatArray
    fused_words: FloatArray
    fused_sound: FloatArray
    traced_words: FloatArray
    traced_sound: FloatArray
    text_asks_audio: FloatArray | None
    audio_asks_text: FloatArray | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON; shares to 5 decimals, seconds to 3."""
        return {
            "words": list(self.words),
            **{name: _plain(getattr(self, name), 3) for name in ("starts_s", "ends_s")},
            **{
                name: _plain(getattr(self, name), 5)
                for name in (
                    *("fused_words", "fused_sound", "traced_words", "traced_sound"),
                    *("text_asks_audio", "audio_asks_text"),
                )
            },
        }


def attend(run: "Run", text: str | None, waveform: FloatArray | None) -> Attention:
    """Tell which words and moments of one utterance a run reads.

    Args:
        run: A loaded leaf of a fused system.
        text: The words; None or blanks if there are none.
        waveform: Mono float32 at 16 kHz; None if there is no sound.

    Raises:
        ConfigError: If the run's system has no attention over both words and sound.
    """
    if run.text is None or run.audio is None or fused_part(run.network) is None:
        raise ConfigError(
            f"{run.folder} is of the system {run.config.network.system!r}, which has no attention "
            "over words and sound together; choose a run of 3m-ser, mersa or mersa-cross"
        )
    text = (text or "").strip()
    words = _frames(run.text, text or None)
    sound = _frames(run.audio, waveform)
    held = shares(run.network, words, sound)
    spans = _spans(run.text, text, len(words)) if text else [(NO_WORDS, 1)]
    starts_s, ends_s = _times(run.audio, waveform, len(sound))
    join = _joining([num for _, num in spans])  # (W, Lt)
    num = len(words)
    asks, answers = held.text_asks_audio, held.audio_asks_text
    return Attention(
        tuple(word for word, _ in spans),
        starts_s,
        ends_s,
        join @ held.fused[:num],
        held.fused[num:],
        join @ held.traced[:num],
        held.traced[num:],
        None if asks is None else (join / join.sum(1, keepdims=True)) @ asks,
        None if answers is None else answers @ join.T,
    )


def fused_part(network: nn.Module) -> SelfAttentionFusion | CrossAttentionFusion | None:
    """Return what attends over words and sound together in a network; None where nothing does."""
    inner = network.network if isinstance(network, MixedLayers) else network
    return inner if isinstance(inner, SelfAttentionFusion | CrossAttentionFusion) else None


@torch.inference_mode()
def shares(network: nn.Module, text: Tensor, audio: Tensor) -> Shares:
    """Return the attention of a fused network in eval mode.

    Args:
        network: One that has a `fused_part`.
        text: Frames of words, (Lt, Dt).
        audio: Frames of sound, (La, Da).

    Raises:
        ConfigError: If nothing in the network attends over words and sound together.
    """
    fusing = fused_part(network)
    if fusing is None:
        raise ConfigError(
            f"{type(network).__name__} has no attention over words and sound together; choose "
            "3m-ser, mersa or mersa-cross"
        )
    device = next(network.parameters()).device
    text, audio = text[None].to(device), audio[None].to(device)
    if isinstance(network, MixedLayers):
        text, audio = network.text_mix(text), network.audio_mix(audio)
    text_mask, audio_mask = (
        torch.ones(one.shape[:2], dtype=torch.bool, device=device) for one in (text, audio)
    )
    words, sound = fusing.words(text, text, text_mask), fusing.sound(audio)
    among_words = _mean(fusing.words.attention.weights(text, text, text_mask))  # (Lt, Lt)
    asks = answers = None
    if isinstance(fusing, CrossAttentionFusion):
        asks = _mean(fusing.text_asks_audio.attention.weights(words, sound, audio_mask))
        answers = _mean(fusing.audio_asks_text.attention.weights(sound, words, text_mask))
        words, sound = (
            fusing.text_asks_audio(words, sound, audio_mask),
            fusing.audio_asks_text(sound, words, text_mask),
        )
    both = torch.cat([words, sound], dim=1)  # (1, L, D)
    mask = torch.cat([text_mask, audio_mask], dim=1)
    asking = both[:, :1] if fusing.fusion.pooling == "first" else both
    fused = _mean(fusing.fusion.block.attention.weights(asking, both, mask)).mean(0)  # (L,)
    on_words, on_sound = fused[: text.shape[1]], fused[text.shape[1] :]
    if asks is not None and answers is not None:
        on_words, on_sound = on_sound @ answers, on_words @ asks
    traced = torch.cat([on_words @ among_words, on_sound])
    return Shares(
        _array(fused),
        _array(traced),
        None if asks is None else _array(asks),
        None if answers is None else _array(answers),
    )


def _mean(weights: Tensor) -> Tensor:
    """Average over the heads of the one utterance, (1, H, Lq, Lk) to (Lq, Lk)."""
    return weights[0].mean(0)


def _array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.float().cpu().numpy()
    return array


def _frames(encoder: Encoder, item: str | FloatArray | None) -> Tensor:
    if item is None:
        return torch.from_numpy(missing(encoder.width * encoder.num_layers))
    return torch.from_numpy(encoder.encode([item]).split()[0])  # type: ignore[arg-type]


def _spans(encoder: Encoder, text: str, num_frames: int) -> list[tuple[str, int]]:
    """Return each word and its number of frames; frames are numbered where no one tells."""
    tell = getattr(encoder, "words", None)
    spans: list[tuple[str, int]] = tell(text) if tell else []
    if sum(num for _, num in spans) != num_frames:
        return [(str(number), 1) for number in range(1, num_frames + 1)]
    return spans


def _times(
    encoder: Encoder, waveform: FloatArray | None, num_frames: int
) -> tuple[FloatArray, FloatArray]:
    """Return where each audio frame begins and ends, in seconds; the last ends with the sound."""
    if waveform is None:
        return np.zeros(1, np.float32), np.zeros(1, np.float32)
    length_s = len(waveform) / SAMPLE_RATE
    step_s = 1 / encoder.frames_per_second if encoder.frames_per_second else length_s / num_frames
    starts = np.arange(num_frames, dtype=np.float32) * np.float32(step_s)
    if starts[-1] >= length_s:  # a nominal rate that does not fit
        starts = np.linspace(0, length_s, num_frames, endpoint=False, dtype=np.float32)
    return starts, np.append(starts[1:], np.float32(length_s))


def _joining(counts: list[int]) -> FloatArray:
    """Return the matrix that sums frames into words, (W, Lt)."""
    frame = np.repeat(np.arange(len(counts)), counts)
    matrix: FloatArray = (np.arange(len(counts))[:, None] == frame).astype(np.float32)
    return matrix


def _plain(values: FloatArray | None, digits: int) -> Any:
    return None if values is None else np.round(values.astype(float), digits).tolist()
