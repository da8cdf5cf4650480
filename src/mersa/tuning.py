"""A network together with encoders that are trained with it, and the batches that they read.

The network of a run reads frames. `TunedNetwork` stands before it with the same signature: where an
encoder is tuned it takes token ids or waveforms in the place of frames, and where none is, the
cached frames as ever. So the loop of training knows of it only the two rates and the budget. What
was tuned is saved as a folder and then runs frozen like any other encoder.

Shapes: B utterances, N values of all utterances (token ids or samples), T values of the longest, L
frames, K layers, D width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import pad_sequence

from mersa.batches import FeatureSet
from mersa.config import Config
from mersa.encoders.base import Encoder, Modality, missing
from mersa.encoders.budget import Item
from mersa.encoders.tunable import Tunable
from mersa.errors import EncoderError
from mersa.progress import OnProgress

Inputs = tuple[Tunable, Mapping[str, Item]]

_FRAMES_AT_ONCE: Mapping[Modality, Mapping[str, int]] = {
    "text": {"cpu": 4096, "cuda": 32_768},
    "audio": {"cpu": 1200, "cuda": 24_000},
}
"""Most frames at once where the settings say nothing. In training a frame of the base models takes
some 1 MB; on a CPU larger parts gain nothing, and it has no error to halve them by: the system
kills a process that takes too much."""


class TunedEncoder(nn.Module):
    """An encoder whose model is trained: what it reads in, frames with gradients out.

    Args:
        encoder: Reads and runs the model.
        model: As `Tunable.to_tune` gives it.
    """

    def __init__(self, encoder: Tunable, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.encoder = encoder

    def save(self, folder: Path) -> None:
        """Write the model as a folder that an encoder of the same settings loads."""
        self.encoder.save_tuned(self.model, folder)

    def train(self, mode: bool = True) -> "TunedEncoder":
        """Switch dropout; batch norms keep their statistics, so that no clip moves another."""
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, values: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch, in the form of a network's frames: packed or padded as it came.

        Args:
            values: Packed (N,), or padded (B, T).
            real: Packed the number of values of each utterance, (B,), or the mask (B, T). An
                utterance without any gets the one zero frame of an absent modality.

        Returns:
            Frames (sum of L, K * D) and their numbers (B,), or (B, L, K * D) and their mask (B, L).
        """
        if real.ndim == 1:
            pieces = torch.split(values, real.tolist())
        else:
            lengths = real.sum(1).tolist()
            pieces = tuple(row[:length] for row, length in zip(values, lengths, strict=True))
        there = [row for row, piece in enumerate(pieces) if len(piece)]
        absent = torch.from_numpy(missing(self.encoder.width * self.encoder.num_layers))
        frames = [absent.to(values.device)] * len(pieces)
        if there:
            encoded = self.encoder.frames_of(self.model, [pieces[row] for row in there])
            for row, one in zip(there, encoded, strict=True):
                frames[row] = one
        counts = torch.tensor([len(one) for one in frames], device=real.device)
        if real.ndim == 1:
            return torch.cat(frames), counts
        padded = pad_sequence(frames, batch_first=True)
        return padded, torch.arange(padded.shape[1], device=real.device) < counts[:, None]


class TunedNetwork(nn.Module):
    """A network and the encoders that are trained with it; one that is None gives cached frames.

    Attributes:
        text: Encoder of words, or None.
        audio: Encoder of sound, or None.
        network: What reads the frames.
    """

    def __init__(
        self, text: TunedEncoder | None, audio: TunedEncoder | None, network: nn.Module
    ) -> None:
        super().__init__()
        self.text = text
        self.audio = audio
        self.network = network

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, to (B, E); arguments as of `TunedEncoder.forward` or `Network.forward`."""
        if self.text is not None:
            text, text_mask = self.text(text, text_mask)
        if self.audio is not None:
            audio, audio_mask = self.audio(audio, audio_mask)
        return self.network(text, text_mask, audio, audio_mask)  # type: ignore[no-any-return]

    def encoders(self) -> Iterator[tuple[Modality, TunedEncoder]]:
        """Give modality and encoder of each that is tuned, words first."""
        if self.text is not None:
            yield "text", self.text
        if self.audio is not None:
            yield "audio", self.audio


def tuned_network(
    config: Config, text: Encoder | None, audio: Encoder | None, network: nn.Module
) -> nn.Module:
    """Put the encoders that the settings tune before a network; each starts as it was published.

    Raises:
        EncoderError: If an encoder cannot be tuned, or not in the way that the settings ask for.
    """
    if not config.tuned:
        return network
    checkpointing = config.train.gradient_checkpointing
    tuned: dict[str, TunedEncoder] = {}
    if "text" in config.tuned:
        one = tunable(text)
        tuned["text"] = TunedEncoder(one, one.to_tune(checkpointing=checkpointing))
    if "audio" in config.tuned:
        one = tunable(audio)
        spec_augment = config.audio.spec_augment
        model = one.to_tune(checkpointing=checkpointing, spec_augment=spec_augment)
        tuned["audio"] = TunedEncoder(one, model)
    return TunedNetwork(tuned.get("text"), tuned.get("audio"), network)


def tunable(encoder: Encoder | None) -> Tunable:
    """Return an encoder as one that can be tuned.

    Raises:
        EncoderError: If it cannot be.
    """
    if not isinstance(encoder, Tunable):
        name = encoder.name if encoder else "none"
        raise EncoderError(
            f"encoder {name!r} cannot be tuned, only text models and wav2vec 2.0, HuBERT and WavLM "
            "of Hugging Face can; leave its weights at frozen"
        )
    return encoder


def parameter_groups(
    network: nn.Module, *, encoder_learning_rate: float
) -> list[dict[str, list[nn.Parameter] | float]]:
    """Part the weights of a network into those of the usual rate and those of tuned encoders."""
    if not isinstance(network, TunedNetwork):
        return [{"params": list(network.parameters())}]
    encoders = [
        weight
        for _, encoder in network.encoders()
        for weight in encoder.parameters()
        if weight.requires_grad
    ]
    return [
        {"params": list(network.network.parameters())},
        {"params": encoders, "lr": encoder_learning_rate},
    ]


def default_frames_at_once(network: nn.Module, device: torch.device) -> int | None:
    """Return how many frames a part of a batch holds where the settings name no number.

    None, the whole batch, where no encoder is tuned.
    """
    if not isinstance(network, TunedNetwork):
        return None
    return min(frames_that_suit(modality, device) for modality, _ in network.encoders())


def frames_that_suit(modality: Modality, device: torch.device) -> int:
    """Return how many frames an encoder is best trained on at once."""
    return _FRAMES_AT_ONCE[modality]["cpu" if device.type == "cpu" else "cuda"]


def with_inputs(
    features: FeatureSet,
    text: Inputs | None,
    audio: Inputs | None,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> FeatureSet:
    """Let batches carry what these encoders read in the place of their frames.

    Everything is read once beforehand, for its length and so that what cannot be read is told
    before the training; sound is then read again for each batch, since a corpus of it need not fit
    in memory.

    Args:
        features: The same utterances, with the frames of the other modality.
        text: Encoder and items of the words, or None to keep their frames.
        audio: The same for sound.
        on_progress: Called after each that was read.
    """
    total = sum(len(source[1]) for source in (text, audio) if source)
    counts: dict[tuple[str, str], int] = {}
    for source in (text, audio):
        if source is None:
            continue
        encoder, items = source
        for id_, item in items.items():
            counts[encoder.modality, id_] = encoder.count_frames(encoder.read(item.load()))
            on_progress(len(counts), total)

    def lengths(modality: str) -> tuple[Tensor, ...]:
        # Frames of width 0: they tell how many there will be, and take no memory.
        return tuple(torch.empty(counts.get((modality, id_), 1), 0) for id_ in features.ids)

    def inputs(row: int) -> tuple[Tensor, Tensor]:
        return (
            _read(text, features.ids[row]) if text else features.text[row],
            _read(audio, features.ids[row]) if audio else features.audio[row],
        )

    return replace(
        features,
        text=lengths("text") if text else features.text,
        audio=lengths("audio") if audio else features.audio,
        live=inputs,
        encoder_inputs=True,
    )


def _read(source: Inputs, id_: str) -> Tensor:
    encoder, items = source
    if id_ in items:
        return encoder.read(items[id_].load())
    return torch.empty(0, dtype=torch.long if encoder.modality == "text" else torch.float32)
