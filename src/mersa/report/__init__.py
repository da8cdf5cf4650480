"""Runs told in tables, claims and pictures."""

from mersa.report.report import report

__all__ = ["report"]
