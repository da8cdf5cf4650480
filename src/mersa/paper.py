"""The 24 rows of the paper's Tables III to V, as printed and as settings.

Source: Le et al., "MERSA: Multimodal Emotion Recognition with Self-Align Embedding", ICOIN 2024.
Numbers stand here as printed, errors included; `docs/paper.md` lists the errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mersa.config import System
from mersa.errors import ConfigError

BERT = "google-bert/bert-base-uncased"
WAV2VEC2 = "facebook/wav2vec2-base"


@dataclass(frozen=True)
class Row:
    """One row of Tables III to V.

    Attributes:
        id: Table and line, as `III.6`.
        corpus: `iemocap` or `meld`.
        labels: The label set of the table.
        model: As printed in the column "Model".
        method: As printed in the column "Method".
        system: The network it builds.
        audio: Name of the audio encoder.
        aligned: True if the text encoder is self-aligned.
        accuracy: As printed.
        f1: As printed; the paper does not say which average.
    """

    id: str
    corpus: str
    labels: str
    model: str
    method: str
    system: System
    audio: str
    aligned: bool
    accuracy: float
    f1: float

    @property
    def table(self) -> str:
        """The number of its table, as `III`."""
        return self.id.partition(".")[0]

    def settings(self) -> dict[str, Any]:
        """Return the settings that build this row; the text encoder is BERT's own weights.

        A row whose text encoder is self-aligned takes the aligned folder as `text.name`.
        """
        return {
            "row": self.id,
            "data": {"labels": self.labels},
            "text": {"name": BERT, "output": "pooler" if self.system == "server" else "frames"},
            "audio": {"name": self.audio},
            "network": {"system": self.system},
        }


_LINES: tuple[tuple[str, str, System, str, bool], ...] = (
    ("SERVER", "VGGish and BERT", "server", "vggish", False),
    ("SERVER modified", "Wav2Vec and BERT", "server", WAV2VEC2, False),
    ("3M-SER", "VGGish and BERT", "3m-ser", "vggish", False),
    ("3M-SER modified", "Wav2Vec and BERT", "3m-ser", WAV2VEC2, False),
    ("MERSA", "VGGish and BERT self-align", "mersa", "vggish", True),
    (
        "MERSA",
        "VGGish and BERT self-align with cross-attention",
        "mersa-cross",
        "vggish",
        True,
    ),
    ("MERSA", "Wav2Vec and BERT self-align", "mersa", WAV2VEC2, True),
    (
        "MERSA",
        "Wav2Vec and BERT self-align with cross-attention",
        "mersa-cross",
        WAV2VEC2,
        True,
    ),
)

_TABLES: Mapping[str, tuple[str, str, tuple[tuple[float, float], ...]]] = {
    "III": (
        "iemocap",
        "iemocap-4",
        (
            (0.616, 0.612),
            (0.604, 0.622),
            (0.751, 0.745),
            (0.777, 0.784),
            (0.770, 0.764),
            (0.805, 0.791),
            (0.783, 0.799),
            (0.779, 0.764),
        ),
    ),
    "IV": (
        "iemocap",
        "iemocap-6",
        (
            (0.535, 0.478),
            (0.521, 0.502),
            (0.586, 0.577),
            (0.595, 0.584),
            (0.644, 0.621),
            (0.669, 0.653),
            (0.671, 0.655),
            (0.676, 0.646),
        ),
    ),
    "V": (
        "meld",
        "meld-4",
        (
            (0.562, 0.424),
            (0.5851, 0.592),
            (0.637, 0.509),
            (0.653, 0.627),
            (0.665, 0.602),
            (0.661, 0.612),
            (0.677, 0.634),
            (0.672, 0.641),
        ),
    ),
}

ROWS: Mapping[str, Row] = {
    f"{table}.{number}": Row(
        f"{table}.{number}", corpus, labels, model, method, system, audio, aligned, accuracy, f1
    )
    for table, (corpus, labels, scores) in _TABLES.items()
    for number, ((model, method, system, audio, aligned), (accuracy, f1)) in enumerate(
        zip(_LINES, scores, strict=True), start=1
    )
}
"""The 24 rows, III.1 to V.8."""


def row_changes(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the names of the row's settings that are set otherwise, as `audio.name`.

    A text encoder other than plain BERT is no change where the row asks for an aligned one.

    Args:
        name: The row.
        settings: All settings, nested by section.
    """
    row = find_row(name)
    tuned = [
        f"{section}.weights"
        for section in ("text", "audio")
        if settings.get(section, {}).get("weights") == "tuned"  # those of the paper are frozen
    ]
    return tuned + [
        f"{section}.{key}"
        for section, wanted in row.settings().items()
        if isinstance(wanted, dict)
        for key, value in wanted.items()
        if settings[section][key] != value
        and not (row.aligned and (section, key) == ("text", "name"))
    ]


def find_row(name: str) -> Row:
    """Return a row by name, in any case.

    Raises:
        ConfigError: If there is no such row.
    """
    row = ROWS.get(name.strip().upper())
    if row is None:
        raise ConfigError(
            f"row {name!r} does not exist; rows are III.1 to III.8, IV.1 to IV.8 and V.1 to V.8 "
            "(see: mersa rows)"
        )
    return row
