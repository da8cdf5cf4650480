"""Words heard by a speech recogniser, behind one small protocol."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.recognize.segments import Piece
from mersa.recognize.words import Word, Words, in_time, join

_TOGETHER_S = 28.0
"""Whisper reads 30 s at a time, however little of it is speech; short pieces share a reading."""

_PAUSE_S = 0.4  # silence between pieces that share one


class Transcriber(Protocol):
    """Hears words.

    Attributes:
        name: What answers call it.
    """

    @property
    def name(self) -> str:
        """What answers call it."""
        ...

    def transcribe(self, audio: FloatArray) -> Sequence[Word]:
        """Return the words of a piece of sound, times in seconds from its start.

        Args:
            audio: Mono float32 at 16 kHz, (n,).
        """
        ...


class Hearing:
    """Gives pieces their words by a transcriber, and remembers when each was said."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        self._words: list[Word] = []
        self._heard_to: dict[int | None, float] = {}  # by channel, where windows overlap

    def __call__(self, pieces: Sequence[Piece]) -> list[str]:
        """Return the words of each piece."""
        sounds = [np.zeros(0, np.float32) if p.audio is None else p.audio for p in pieces]
        texts = []
        for piece, words in zip(
            pieces, transcribe_together(self._transcriber, sounds), strict=True
        ):
            texts.append(join(words))
            before = self._heard_to.get(piece.channel, 0.0)
            for one in words:
                start, end = piece.start_s + one.start_s, piece.start_s + one.end_s
                if (start + end) / 2 >= before:
                    self._words.append(Word(start, end, one.text, piece.speaker, piece.channel))
            self._heard_to[piece.channel] = piece.end_s
        return texts

    def words(self) -> Words:
        """Return all words heard, each once where pieces overlap."""
        return in_time(self._words, self._transcriber.name)


def transcribe_together(transcriber: Transcriber, sounds: Sequence[FloatArray]) -> list[list[Word]]:
    """Return the words of each sound, times from its start; short ones are heard in one go.

    A word belongs to the sound that its middle falls in, or to the one before if it falls into
    the silence put between them.
    """
    result: list[list[Word]] = []
    group: list[FloatArray] = []
    for sound in sounds:
        seconds = sum(len(one) / SAMPLE_RATE + _PAUSE_S for one in group)
        if group and seconds + len(sound) / SAMPLE_RATE > _TOGETHER_S:
            result += _transcribe_group(transcriber, group)
            group = []
        group.append(sound)
    if group:
        result += _transcribe_group(transcriber, group)
    return result


def _transcribe_group(transcriber: Transcriber, sounds: Sequence[FloatArray]) -> list[list[Word]]:
    if len(sounds) == 1:
        return [list(transcriber.transcribe(sounds[0]))]
    pause = np.zeros(round(_PAUSE_S * SAMPLE_RATE), dtype=np.float32)
    joined = np.concatenate([part for sound in sounds for part in (sound, pause)])
    lengths = np.array([len(sound) + len(pause) for sound in sounds]) / SAMPLE_RATE
    starts = np.cumsum(lengths) - lengths
    result: list[list[Word]] = [[] for _ in sounds]
    for word in transcriber.transcribe(joined):
        middle = (word.start_s + word.end_s) / 2
        place = max(0, int(np.searchsorted(starts, middle, side="right")) - 1)
        start, length = float(starts[place]), len(sounds[place]) / SAMPLE_RATE
        begin, end = (min(max(0.0, t - start), length) for t in (word.start_s, word.end_s))
        result[place].append(Word(begin, end, word.text.strip()))
    return result


class FasterWhisper:
    """Whisper by faster-whisper.

    Args:
        model: A size as `small`, an id on the Hugging Face Hub, or a folder in CTranslate2's form.
        language: Two letters as `en`; None: heard from the sound.
        device: `auto`, `cpu` or `cuda`.
        compute_type: Numbers that it calculates with, as `int8`; CTranslate2's `default` takes
            those of the weights.

    Raises:
        EncoderError: If there is no such model.
        MissingExtraError: If faster-whisper is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        language: str | None = None,
        device: str = "auto",
        compute_type: str = "default",
    ) -> None:
        from mersa.errors import EncoderError, MissingExtraError, first_line

        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise MissingExtraError("asr", "transcribing words") from None
        self.name = f"faster-whisper {model}"
        kind, _, index = device.partition(":")
        try:
            self._model = WhisperModel(
                model, device=kind, device_index=int(index or 0), compute_type=compute_type
            )
        except Exception as error:  # noqa: BLE001  its errors have no common base
            raise EncoderError(
                f"transcriber {model!r} cannot be loaded ({first_line(error)}); name a size as "
                "small, an id on the Hugging Face Hub or a folder in CTranslate2's form"
            ) from None
        if language is not None and language not in self._model.supported_languages:
            known = ", ".join(sorted(self._model.supported_languages))
            raise EncoderError(
                f"language {language!r} is not known to transcriber {model!r}; choose one of "
                f"{known}"
            )
        self._language = language

    def transcribe(self, audio: FloatArray) -> list[Word]:
        """Return the words of a piece of sound; see the protocol."""
        segments, _ = self._model.transcribe(
            audio,
            language=self._language,
            word_timestamps=True,
            temperature=0.0,  # its other temperatures draw lots, and answers must stay the same
            condition_on_previous_text=False,  # pieces need not follow each other
        )
        return [
            Word(float(word.start), float(word.end), word.word.strip())
            for segment in segments
            for word in segment.words or ()
            if word.word.strip()
        ]
