"""Small published classifiers, written once for all tests that leave them as they are."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
classifiers = importlib.import_module("classifiers")


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A classifier of sound."""
    return classifiers.write_speech_classifier(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """A classifier of words."""
    return classifiers.write_text_classifier(tmp_path_factory.mktemp("words"))
