"""Emotion recognition from speech and its words."""

__version__ = "0.1.0"
