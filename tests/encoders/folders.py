"""Small random models in the Hugging Face layout, written by transformers itself."""

import json
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForPreTraining,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    HubertConfig,
    HubertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from mersa.encoders.huggingface import quiet

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] i am so happy don ' t go now - . , not sad ##ly le ##ave"


def write_bert(folder: Path, *, seed: int = 0, **changes) -> Path:
    """Write what google-bert/bert-base-uncased holds: an encoder, a pooler, heads of training."""
    return _write_text(folder, lambda: BertForPreTraining(_bert_config(**changes)), seed)


def write_minilm(folder: Path, *, seed: int = 0) -> Path:
    """Write what all-MiniLM-L6-v2 holds: a bare encoder with a pooler, in a narrower shape."""
    config = _bert_config(
        hidden_size=18, num_attention_heads=3, num_hidden_layers=4, intermediate_size=30
    )
    return _write_text(folder, lambda: BertModel(config), seed)


def write_roberta(folder: Path, *, seed: int = 0) -> Path:
    """Write what FacebookAI/roberta-base holds: no pooler, a head, positions from the third on."""
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=36,
        max_position_embeddings=34,
        type_vocab_size=1,
        pad_token_id=1,
    )
    _write_model(folder, lambda: RobertaForMaskedLM(config), seed)
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        ["i am so happy now"] * 9, vocab_size=290, special_tokens=special, show_progress=False
    )
    tokenizer.save_model(str(folder))
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    return folder


def write_distilbert(folder: Path, *, seed: int = 0) -> Path:
    config = DistilBertConfig(
        vocab_size=40, dim=20, n_layers=2, n_heads=2, hidden_dim=28, max_position_embeddings=32
    )
    return _write_text(folder, lambda: DistilBertModel(config), seed)


def write_mpnet(folder: Path, *, seed: int = 0) -> Path:
    config = MPNetConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=28,
        max_position_embeddings=34,
    )
    return _write_text(folder, lambda: MPNetModel(config), seed)


def write_stirred_text(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write one of `TEXT_SHAPES`, with weights none of which is a mere zero or one."""
    return _write_text(folder, lambda: stir(TEXT_SHAPES[kind]()), seed)


def write_wav2vec2(folder: Path, *, seed: int = 0, do_normalize: bool = True) -> Path:
    """Write what facebook/wav2vec2-base holds: the encoder and the targets of pretraining."""
    config = Wav2Vec2Config(
        **_speech_sizes(), codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=4
    )
    _write_model(folder, lambda: Wav2Vec2ForPreTraining(config), seed)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def write_hubert(folder: Path, *, seed: int = 0) -> Path:
    """Write a HuBERT in the shape of the large ones: layer norms in place of the group norm."""
    config = HubertConfig(
        **_speech_sizes(), feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
    )
    _write_model(folder, lambda: HubertModel(config), seed)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_wavlm(folder: Path, *, seed: int = 0) -> Path:
    config = WavLMConfig(**_speech_sizes(), num_buckets=20, max_bucket_distance=40)
    _write_model(folder, lambda: WavLMModel(config), seed)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def write_stirred(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write one of `SPEECH_SHAPES`, with weights none of which is a mere zero or one."""
    _write_model(folder, lambda: stir(SPEECH_SHAPES[kind]()), seed)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def stir(model: PreTrainedModel) -> PreTrainedModel:
    """Draw all weights, norms and biases included, so that each leaves its mark on the frames."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.dtype != torch.float32:
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.4)
            elif not name.endswith("weight.original0"):  # the magnitudes of a weight norm
                tensor.normal_(0.0, 1.2 / tensor[0].numel() ** 0.5)
    return model


def write_whisper(folder: Path, *, seed: int = 0, seconds: int = 2) -> Path:
    """Write a whole Whisper, decoder included, that hears windows of a few seconds."""
    config = WhisperConfig(
        vocab_size=40,
        num_mel_bins=12,
        d_model=20,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=28,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        max_source_positions=50 * seconds,
        max_target_positions=9,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    _write_model(folder, lambda: WhisperForConditionalGeneration(config), seed)
    WhisperFeatureExtractor(feature_size=12, chunk_length=seconds).save_pretrained(folder)
    return folder


SPEECH_SHAPES = {
    "wav2vec2-base": lambda: Wav2Vec2Model(Wav2Vec2Config(**_speech_sizes())),
    "wav2vec2-large": lambda: Wav2Vec2Model(Wav2Vec2Config(**_speech_sizes(), **_LARGE)),
    "hubert-base": lambda: HubertModel(HubertConfig(**_speech_sizes())),
    "hubert-large": lambda: HubertModel(HubertConfig(**_speech_sizes(), **_LARGE)),
    "mhubert": lambda: HubertModel(
        HubertConfig(**_speech_sizes(), conv_pos_batch_norm=True, feat_proj_layer_norm=False)
    ),
    "wavlm-base": lambda: WavLMModel(WavLMConfig(**_speech_sizes(), **_BUCKETS)),
    "wavlm-large": lambda: WavLMModel(WavLMConfig(**_speech_sizes(), **_BUCKETS, **_LARGE)),
}
"""Each way in which models of this family differ where padding could reach."""

TEXT_SHAPES = {
    "albert": lambda: AlbertModel(AlbertConfig(embedding_size=12, **_text_sizes())),
    "bert": lambda: BertModel(BertConfig(**_text_sizes())),
    "camembert": lambda: CamembertModel(CamembertConfig(**_text_sizes(), pad_token_id=0)),
    "deberta-v2": lambda: DebertaV2Model(DebertaV2Config(**_text_sizes(), **_RELATIVE)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=28)
    ),
    "electra": lambda: ElectraModel(ElectraConfig(embedding_size=12, **_text_sizes())),
    "mpnet": lambda: MPNetModel(MPNetConfig(**_text_sizes(), pad_token_id=0)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_text_sizes(), pad_token_id=0)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**_text_sizes(), pad_token_id=0)),
}
"""Each type of text model, the small DeBERTa with the convolution of the largest ones."""

_RELATIVE = {
    "relative_attention": True,
    "position_buckets": 6,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "position_biased_input": False,
}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_BUCKETS = {"num_buckets": 20, "max_bucket_distance": 40}


def _write_text(folder: Path, build, seed: int) -> Path:
    _write_model(folder, build, seed)
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512},
    )
    return folder


def _write_model(folder: Path, build, seed: int) -> None:
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = build()
        model.save_pretrained(folder)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _bert_config(**changes) -> BertConfig:
    sizes = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 28,
        "max_position_embeddings": 32,
    }
    return BertConfig(**(sizes | changes))


def _text_sizes() -> dict:
    return {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 28,
        "max_position_embeddings": 64,
    }


def _speech_sizes() -> dict:
    return {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "conv_dim": (12,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
    }
