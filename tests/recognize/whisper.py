"""A tiny Whisper of random weights in CTranslate2's form: nonsense, by the real code."""

import json
from pathlib import Path

_NAMES = (
    "endoftext startoftranscript en translate transcribe startoflm startofprev nospeech "
    "notimestamps"
)
SPECIAL = tuple(f"<|{name}|>" for name in _NAMES.split())


def write_whisper(folder: Path, seed: int = 2) -> Path:
    """Write model.bin, config.json, vocabulary.json and tokenizer.json."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperForConditionalGeneration,
    )

    source = folder.with_name(f"{folder.name}-source")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    times = [f"<|{n * 0.02:.2f}|>" for n in range(1501)]
    tokenizer = Tokenizer(models.BPE({one: n for n, one in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in (*SPECIAL, *times)])
    place = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        pad_token_id=place["<|endoftext|>"],
        bos_token_id=place["<|endoftext|>"],
        eos_token_id=place["<|endoftext|>"],
        decoder_start_token_id=place["<|startoftranscript|>"],
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(suppress_tokens=[], begin_suppress_tokens=[])
    model.save_pretrained(source)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    ).save_pretrained(source)
    (source / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    TransformersConverter(str(source)).convert(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
