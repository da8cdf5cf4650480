"""Small published classifiers, in Hugging Face's layout."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
classifiers = importlib.import_module("classifiers")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A classifier of sound."""
    return classifiers.write_speech_classifier(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A classifier of words."""
    return classifiers.write_text_classifier(tmp_path_factory.mktemp("words"))
