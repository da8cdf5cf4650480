"""Emotions of real recordings by a trained run."""
