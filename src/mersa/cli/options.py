"""Options that mean the same for every verb, and what they open."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but results and errors.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A run folder, one published on the Hugging Face Hub, or classifiers of others "
        "there: hf:AUDIO, hf:+TEXT or hf:AUDIO+TEXT."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that share the work, a GPU or a share of the cores each; default: 1, or "
        "those that torchrun started.",
    ),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of encoded frames; default: the user's cache folder.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
ShowSettings = Annotated[
    bool, typer.Option("--show-settings", help="Print all settings, commented, and end.")
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="auto (the default: official parts, else by session, speaker or dialogue), official, "
        "leave-one-session-out, speaker, leave-one-speaker-out, dialogue, script-disjoint, "
        "improvised, paper, column:NAME or file:PATH."
    ),
]
CheckpointLabels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="With hf:... the labels to answer with, as iemocap-4 or own words with commas; "
        "default: all that its checkpoints share.",
    ),
]
CheckpointMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map", help="With hf:... what labels of a checkpoint mean, as LABEL_0=anger,joy=happy."
    ),
]
CheckpointWeight = Annotated[
    float | None,
    typer.Option("--weight", help="With hf:AUDIO+TEXT the weight of the sound, 0 to 1."),
]


def is_first() -> bool:
    """Return False in the further ones of several processes, as torchrun starts them."""
    started = {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()
    return not started or os.environ["RANK"] == "0"


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def progress_bars(quiet: bool) -> Any:
    """Return bars on standard error, or silence."""
    import logging
    from contextlib import nullcontext

    if not quiet:  # what the package logs, as that weights are being fetched
        logging.basicConfig(format="%(message)s")
        logging.getLogger("mersa").setLevel(logging.INFO if is_first() else logging.WARNING)

    from mersa.progress import Bars, Silent

    return nullcontext(Silent()) if quiet else Bars()


def feature_cache(folder: Path | None) -> Any:
    """Return the cache of frames that the user chose, or the user's own."""
    from platformdirs import user_cache_path

    from mersa.encoders.cache import FeatureCache
    from mersa.errors import ConfigError
    from mersa.files import is_in_a_file

    place = folder or user_cache_path("mersa") / "features"
    if is_in_a_file(place):
        raise ConfigError(
            f"{place} is or lies below a file, but the cache is a folder; choose another --cache"
        )
    return FeatureCache(place)


def mapping_of(words: Sequence[str] | None) -> dict[str, str]:
    """Read what `--map` gives, several pairs in one word or not."""
    return pairs([pair for one in words or [] for pair in one.split(",")], "--map")


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """Read `name=value` words, each name once; names differ by more than their case."""
    from mersa.errors import ConfigError

    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ConfigError(f"{option} {word!r} is not a pair; write it as name=value")
        if name.strip().lower() in map(str.lower, pairs):
            raise ConfigError(f"{option} gives {name.strip()!r} twice; give it once")
        pairs[name.strip()] = value.strip()
    return pairs
