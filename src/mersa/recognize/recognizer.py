"""A model of emotions that answers for one recording at a time, short or long."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from mersa import build, runs
from mersa.audio import SAMPLE_RATE, FloatArray, Source
from mersa.emotions import LabelSet
from mersa.errors import AudioError, ConfigError, RunError
from mersa.recognize.abstaining import Threshold, threshold_for, withheld
from mersa.recognize.judging import OnSeconds, TextsOf, judge
from mersa.recognize.prediction import NO_SPEECH, WITHOUT_SOUND, WITHOUT_WORDS, Segment
from mersa.recognize.prediction import Prediction as Prediction
from mersa.recognize.scoring import RunScorer, Scorer, TellsOfItself
from mersa.recognize.segments import LONGEST_S, Piece, cut, has_speech
from mersa.recognize.settings import Segmentation, as_segmentation
from mersa.recognize.smoothing import order, overall, overlay, smooth
from mersa.recognize.stream import Stream, open_stream
from mersa.recognize.transcribe import Hearing, Transcriber
from mersa.recognize.words import Words, join, read_words, untimed
from mersa.weights import load_run


class Recognizer:
    """Tells the emotions of recordings.

    Example:
        recognizer = Recognizer.from_pretrained("runs/mine")
        recognizer.predict("call.wav", text="I have told you so").label

    Args:
        scorer: The model; see `from_pretrained` for a trained run.
        origin: The run folder that it comes from; None for none.
    """

    def __init__(self, scorer: Scorer, *, origin: Path | None = None) -> None:
        self._model = scorer
        self._scorer = scorer  # what is asked: the model, or what `with_scorer` puts before it
        self._origin = origin
        self._pad_s = scorer.pad_s if isinstance(scorer, RunScorer) else None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        labels: str | None = None,
        mapping: Mapping[str, str] | None = None,
        weight: float | None = None,
    ) -> Self:
        """Load a run folder, a run published on the Hugging Face Hub, or published checkpoints.

        Args:
            name: A folder, an id on the Hub (`me/my-emotions`, or with `@` and a revision), or
                `hf:AUDIO`, `hf:+TEXT` or `hf:AUDIO+TEXT` with classifiers that others published.
            device: `auto`, `cpu` or `cuda[:n]`.
            labels: With `hf:`, a label set or words with commas between them.
            mapping: With `hf:`, what labels of a checkpoint mean, as `{"LABEL_0": "anger"}`.
            weight: With `hf:AUDIO+TEXT`, the weight of the sound; .5 where it is not given.

        Raises:
            ConfigError: If there is no such device, or labels, mapping or weight do not fit.
            EncoderError: If there is no such run, or an encoder's weights are not those that it was
                trained with.
            RunError: If the run is unfinished, or its labels or weights do not fit.
        """
        device = build.device(device)
        if runs.is_checkpoint(name):
            from mersa.recognize.checkpoints import load_checkpoint  # a second of transformers

            found = load_checkpoint(
                name, labels=labels, mapping=mapping, weight=weight, device=device
            )
            found.load()  # so that broken weights are told once, and not of each recording
            return cls(found, origin=Path(name) if Path(name).is_dir() else None)
        if labels is not None or mapping or weight is not None:
            raise ConfigError(
                f"{name} is a run, which has its labels; give labels, mapping and weight with "
                "hf:... alone"
            )
        folder = Path(name)
        if not folder.exists():
            from mersa.recognize.publishing import fetch

            folder = fetch(str(name))
        leaves = runs.members(folder)
        runs.check_finished(folder)
        members = [load_run(leaf, device=device) for leaf in leaves]
        return cls(RunScorer(members, device=device), origin=folder)

    @property
    def scorer(self) -> Scorer:
        """The model."""
        return self._scorer

    def with_scorer(self, scorer: Scorer) -> Self:
        """Return one that is the same but asks another scorer, which must give the same answers."""
        other = copy.copy(self)
        other._scorer = scorer
        return other

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        return self._scorer.labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        return self._scorer.modalities

    def told(self) -> list[str]:
        """Return what must be known of the model beside its labels, one sentence each.

        Of published checkpoints that is what their own labels count as, and the weight of two.
        """
        return self._model.told() if isinstance(self._model, TellsOfItself) else []

    @property
    def card(self) -> str:
        """Markdown that tells what the model is, what it was scored on, and its limits.

        It is empty for a model that comes from no folder.
        """
        written = self._origin / "README.md" if self._origin else None
        if written and written.is_file():
            return written.read_text(encoding="utf-8")
        return self._model.card() if isinstance(self._model, TellsOfItself) else ""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,
        language: Sequence[str] | None = None,
        datasets: Sequence[str] = (),
        private: bool = True,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Publish a bundled run on the Hugging Face Hub; `from_pretrained(repo_id)` then loads it.

        Args:
            repo_id: As `me/my-emotions`; made if it is not there.
            license: Identifier of the licence, as the Hub lists them; the corpus and the encoders
                bind it.
            language: Codes, as `["en"]`; by default those of the manifest, where it is there.
            datasets: Ids of the corpora on the Hub.
            private: Whether a repository that is made here is seen by its owner alone.
            token: By default the one of `hf auth login`.
            revision: A branch that is there; by default `main`.
            commit_message: By default the name of the run.

        Returns:
            The address of the commit.

        Raises:
            RunError: If the model is no run, the run is not bundled or has no licence, or it cannot
                be put there.
        """
        from mersa.recognize.publishing import push

        if self._origin is None or not isinstance(self._model, RunScorer):
            raise RunError(
                "only a run that mersa train made can be published; published checkpoints are on "
                "the Hugging Face Hub already"
            )
        return push(
            self._origin,
            repo_id,
            licence=license,
            languages=language,
            datasets=datasets,
            private=private,
            token=token,
            revision=revision,
            message=commit_message,
        )

    def predict(
        self,
        audio: Source | npt.NDArray[Any] | None = None,
        text: str | None = None,
        *,
        sampling_rate: int | None = None,
        segmentation: Segmentation | str = "auto",
        words: Words | Path | None = None,
        transcriber: Transcriber | None = None,
        abstain: float | None = None,
        on_seconds: OnSeconds | None = None,
    ) -> Prediction:
        """Tell the emotions of one recording, of its words, or of both.

        With `auto` a recording is judged as a whole if it is at most `longest_s` long and voice
        activity finds speech in it, or if it comes with words without times; a longer one is
        judged by the stretches of speech in it, or by the cues of `words` where the model reads
        words alone.

        Args:
            audio: A path, bytes, a file object, or samples with `sampling_rate`; None if there is
                no sound.
            text: The words of the whole recording; None or blanks if they are not known.
            sampling_rate: Hertz of an array.
            segmentation: `auto`, `whole`, `speech`, `windows`, `words` (by the cues of `words`), or
                settings that `make_segmentation` gives.
            words: Words, or a file of them, in place of `text`.
            transcriber: Hears the words where none are given.
            abstain: Withhold labels, of segments and of the whole, whose confidence lies below that
                from which on at most this share of the answered validation utterances was wrong;
                None: answer always.
            on_seconds: Told how many seconds of the recording are judged.

        Raises:
            AudioError: If the recording cannot be read, or is too long to be judged as a whole.
            ConfigError: If an array comes without its rate, nothing is there that the model reads,
                words do not go with the segmentation, or `abstain` does not go with the model.
        """
        threshold = None if abstain is None else self.threshold(abstain)
        prediction = self._predict(
            audio, text, sampling_rate, segmentation, words, transcriber, on_seconds
        )
        return withheld(prediction, threshold) if threshold else prediction

    def threshold(self, risk: float) -> Threshold:
        """Return from which confidence on at most this share of validation answers was wrong.

        Raises:
            ConfigError: If the risk is no share, or the model brings no validation answers.
        """
        return threshold_for(self._model, risk)

    def _predict(
        self,
        audio: Source | npt.NDArray[Any] | None,
        text: str | None,
        sampling_rate: int | None,
        segmentation: Segmentation | str,
        words: Words | Path | None,
        transcriber: Transcriber | None,
        on_seconds: OnSeconds | None,
    ) -> Prediction:
        _check_kinds(text, sampling_rate)
        segmentation = self._padded(as_segmentation(segmentation))
        known = _known_words(text, words)
        if audio is None:
            if segmentation.by == "words":
                return self._long(None, known, None, segmentation, on_seconds)
            return self._whole(None, known, None)
        by = segmentation.by
        with open_stream(audio, sampling_rate) as stream:
            if by == "whole" or (by == "auto" and known and not known.timed):
                return self._whole(_all_of(stream), known, transcriber)
            if by == "auto":
                if not segmentation.channels:
                    waveform = stream.whole(segmentation.longest_s)
                    if waveform is not None:
                        return self._short(waveform, known, transcriber, segmentation)
                by = "words" if known and "audio" not in self.modalities else "speech"
                segmentation = segmentation.model_copy(update={"by": by})
            return self._long(stream, known, transcriber, segmentation, on_seconds)

    def _padded(self, segmentation: Segmentation) -> Segmentation:
        """Keep as much sound around speech as the training clips have, unless the caller says."""
        if self._pad_s is None or "pad_s" in segmentation.speech.model_fields_set:
            return segmentation
        speech = segmentation.speech.model_copy(update={"pad_s": self._pad_s})
        return segmentation.model_copy(update={"speech": speech})

    def _short(
        self,
        waveform: FloatArray,
        words: Words | None,
        transcriber: Transcriber | None,
        segmentation: Segmentation,
    ) -> Prediction:
        if words or "audio" not in self.modalities or has_speech(waveform, segmentation):
            return self._whole(waveform, words, transcriber)
        return self._answer([], "whole", words, transcriber, has_sound=True, note=NO_SPEECH)

    def _whole(
        self, waveform: FloatArray | None, words: Words | None, transcriber: Transcriber | None
    ) -> Prediction:
        self._check_given(waveform is not None, words, transcriber)
        seconds = 0.0 if waveform is None else len(waveform) / SAMPLE_RATE
        piece = Piece(0.0, seconds, waveform)
        if words:
            segments = judge([piece], self._scorer, lambda pieces: [words.text] * len(pieces))
        else:
            segments = judge([piece], self._scorer, _texts_of(words, transcriber))
        return self._answer(segments, "whole", words, transcriber, has_sound=waveform is not None)

    def _long(
        self,
        stream: Stream | None,
        words: Words | None,
        transcriber: Transcriber | None,
        segmentation: Segmentation,
        on_seconds: OnSeconds | None,
    ) -> Prediction:
        self._check_given(stream is not None, words, transcriber)
        if words and not words.timed:
            raise ConfigError(
                "the words have no times, but segments need them; give .srt, .vtt or .json with "
                "times, or judge the recording as a whole"
            )
        by = segmentation.by
        if by == "words":
            segmentation = _by_cues(segmentation, words)
        pieces: Iterable[Piece]
        if stream is None:
            pieces = (Piece(t.start_s, t.end_s, None, t.speaker) for t in segmentation.turns)
        else:
            pieces = cut(stream, segmentation)
        texts_of = _texts_of(words, transcriber)
        segments = judge(pieces, self._scorer, texts_of, on_seconds=on_seconds)
        if by == "windows":
            segments = overlay(segments, segmentation.windows.step_s, words or _heard(texts_of))
        segments = smooth(sorted(segments, key=order), segmentation.smoothing)
        note = "" if by != "speech" else _kept(self._pad_s, segmentation) if segments else NO_SPEECH
        has_sound = stream is not None
        return self._answer(segments, by, words, transcriber, has_sound=has_sound, note=note)

    def _answer(
        self,
        segments: Sequence[Segment],
        by: str,
        words: Words | None,
        transcriber: Transcriber | None,
        *,
        has_sound: bool,
        note: str = "",
    ) -> Prediction:
        scores = overall(segments)
        label = max(scores, key=scores.__getitem__) if scores else None
        has_words = any(one.text for one in segments)
        notes = [note] if note else []
        if segments and "text" in self.modalities and not has_words:
            notes.append(WITHOUT_WORDS)
        elif segments and "audio" in self.modalities and not has_sound:
            notes.append(WITHOUT_SOUND)
        elif not segments and not note:
            notes.append("no segment has words, and the model reads nothing else")
        used = {"text": has_words, "audio": has_sound}
        return Prediction(
            label,
            scores,
            scores[label] if label else 0.0,
            tuple(segments),
            tuple(name for name in self.modalities if used[name]),
            by,
            words.source if words else transcriber.name if transcriber else "none",
            tuple(notes),
        )

    def _check_given(
        self, has_sound: bool, words: Words | None, transcriber: Transcriber | None
    ) -> None:
        given = {"text": bool(words or (transcriber and has_sound)), "audio": has_sound}
        if not any(given[name] for name in self.modalities):
            raise ConfigError(
                f"this model reads {' and '.join(self.modalities)}, but nothing of it was given; "
                "give it"
            )


def _check_kinds(text: object, sampling_rate: object) -> None:
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"text is {text!r}, but the words of the recording were expected")
    if sampling_rate is not None and not isinstance(sampling_rate, int):
        raise ConfigError(f"sampling_rate is {sampling_rate!r}, but whole hertz were expected")


def _known_words(text: str | None, words: Words | str | Path | None) -> Words | None:
    if text is not None and words is not None:
        raise ConfigError("both text and words were given, but they are the same; give one of them")
    if words is None:
        words = untimed(text or "")
    elif not isinstance(words, Words):
        words = read_words(Path(words))
    return words if words.text else None


def _all_of(stream: Stream) -> FloatArray:
    waveform = stream.whole(LONGEST_S)
    if waveform is None:
        raise AudioError(
            f"{stream.name} is longer than {LONGEST_S:.0f} s, but it was to be judged as a whole; "
            "cut it into utterances, or choose other segments (words then need times)"
        )
    return waveform


def _kept(pad_s: float | None, segmentation: Segmentation) -> str:
    """Tell that the sound around speech follows the training clips, where it does."""
    if pad_s is None or segmentation.speech.pad_s != pad_s:
        return ""
    return f"{pad_s:.2f} s of sound are kept around speech, as the training clips have"


def _by_cues(segmentation: Segmentation, words: Words | None) -> Segmentation:
    if words is None or not words.cues:
        raise ConfigError(
            "segments by words need words with times; give .srt, .vtt or .json, or choose others"
        )
    return segmentation.model_copy(update={"by": "turns", "turns": words.cues, "channels": False})


def _texts_of(words: Words | None, transcriber: Transcriber | None) -> TextsOf:
    """Return what gives pieces their words."""
    if words:
        return lambda pieces: [join(words.within(p.start_s, p.end_s, p.speaker)) for p in pieces]
    if transcriber:
        return Hearing(transcriber)
    return lambda pieces: [""] * len(pieces)


def _heard(texts_of: TextsOf) -> Words | None:
    return texts_of.words() if isinstance(texts_of, Hearing) else None
