"""Encoders of words and of sound, and the cache of what they give."""
