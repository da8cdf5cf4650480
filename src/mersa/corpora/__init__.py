"""Readers of published corpora: a folder in, a manifest out."""
