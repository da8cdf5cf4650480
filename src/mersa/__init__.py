"""Emotion recognition from speech and its words."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mersa.recognize.recognizer import Recognizer as Recognizer

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Only on use, so that `import mersa` and `mersa --help` do not import torch.
    if name == "Recognizer":
        from mersa.recognize.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'mersa' has no attribute {name!r}")
