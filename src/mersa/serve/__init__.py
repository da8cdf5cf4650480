"""Answers over HTTP: uploads, limits, processes that judge."""
