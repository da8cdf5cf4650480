"""What stands in for corpora and encoders where a rehearsal is to need neither.

The corpus is the embedded one; the encoders are small, in the layout of Hugging Face, with random
weights. They go through the same code as the real ones, and their scores say nothing about people.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mersa.files import write_json, write_whole_folder
from mersa.manifest import Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NOTES = (
    "Rehearsal: nothing on this page is evidence about emotion in people. It shows that every row "
    "runs from the corpus to the page.",
    "Synthetic corpus: in place of IEMOCAP and of MELD stands `toy`, 480 sentences spoken by a "
    "synthesiser, half of whose emotional ones carry the emotion in the words and half in the "
    "voice. Its labels are the six of iemocap-6; iemocap-4 and meld-4 are merges of them.",
    "The settings of this rehearsal were found with the scores of toy's test part in view, so no "
    "difference between rows is evidence, be it between aligned and other ones.",
    "In place of BERT: a BERT of 2 layers, 64 wide, with random weights, whose vocabulary is the "
    "words of the train part of `toy`.",
    "In place of VGGish: log-mel statistics (`mel`), which have no weights.",
    "In place of wav2vec 2.0 base: a wav2vec 2.0 of 2 layers, 64 wide, with random weights.",
)
"""What a page made from stand-ins has to say, a sentence or two each."""

ENCODERS: Mapping[str, str | Path] = {
    "bert": Path("encoders") / "bert",
    "vggish": "mel",
    "wav2vec2": Path("encoders") / "wav2vec2",
}
"""What stands for each encoder of the paper; a path lies below the output folder."""

SETTINGS = (
    "train.epochs=12",
    "train.patience=12",
    "train.learning_rate=0.001",
    "network.fusion_width=32",
    "align.epochs=15",
    "align.patience=15",
    "align.learning_rate=0.0003",
    "align.pooling=mean",
)
"""Settings of a rehearsal, in place of the defaults."""

_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LONGEST = 64  # tokens; the longest sentence of toy has fewer


def write_encoders(manifest: Manifest, out: Path) -> None:
    """Write `out/bert` and `out/wav2vec2`, the same on every machine.

    Args:
        manifest: Its train part gives the words of the vocabulary.
        out: Folder that is made; where an encoder stands already, it is written anew.
    """
    with write_whole_folder(out / "bert") as folder:
        _write_bert(_words(manifest), folder)
    with write_whole_folder(out / "wav2vec2") as folder:
        _write_wav2vec2(folder)


def _words(manifest: Manifest) -> list[str]:
    texts = (one.text.lower() for one in manifest if one.part == "train")
    return sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})


def _write_bert(words: Iterable[str], folder: Path) -> None:
    from transformers import BertConfig, BertModel

    # Letters, so that a word of the other parts is spelt and not unknown.
    pieces = [*_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    entries = list(dict.fromkeys((*_MARKS, *words, *pieces)))
    config = BertConfig(
        vocab_size=len(entries),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_LONGEST,
        initializer_range=0.05,  # with 0.02 all texts lie in one place
    )
    _save(lambda: BertModel(config), folder)
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": _LONGEST},
    )


def _write_wav2vec2(folder: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(64,) * 7,
        feat_extract_norm="layer",  # as in wav2vec2-large: random filters tell more with it
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    _save(lambda: Wav2Vec2Model(config), folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)  # type: ignore[no-untyped-call]


def _save(build: Callable[[], "PreTrainedModel"], folder: Path) -> None:
    import torch

    from mersa.encoders.huggingface import quiet

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        build().save_pretrained(folder)
