"""Answers in a folder: one file a recording, whole or absent, so that work can go on later."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mersa.errors import ConfigError
from mersa.files import is_in_a_file, write_json, write_text
from mersa.recognize.formats import FORMATS
from mersa.recognize.inputs import STANDARD_INPUT, Recording
from mersa.recognize.prediction import Prediction

FACTS = ".predict.json"
"""The file that says how the answers of a folder were made."""


class AnswerFolder:
    """A folder of answers.

    Args:
        folder: Made if it is not there.
        form: Name of the format.
        facts: What decides the answers, as plain values.
        again: Whether answers that are there are made anew.

    Raises:
        ConfigError: If the folder is a file, or holds answers that were made otherwise.
    """

    def __init__(
        self, folder: Path, form: str, facts: Mapping[str, Any], *, again: bool = False
    ) -> None:
        if is_in_a_file(folder):
            raise ConfigError(
                f"{folder} is or lies below a file, but answers go to a folder; "
                "choose another --out"
            )
        self._folder, self._form, self._again = folder, FORMATS[form], again
        facts = json.loads(json.dumps({"format": form, **facts}))
        known = _facts(folder)
        self._is_ours = known is not None
        if known is not None and known != facts and not again:
            differing = sorted(
                name for name in {*known, *facts} if known.get(name) != facts.get(name)
            )
            raise ConfigError(
                f"{folder} holds answers that were made with another {', '.join(differing)}; name "
                "another folder, or make them anew with --again"
            )
        self._facts = facts

    def left(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Return the recordings that have no answer, or have changed since.

        From here on the folder says how its answers were made.

        Raises:
            ConfigError: If two answers would go to one file, or one to a file of somebody else's.
        """
        places: dict[Path, Recording] = {}
        for one in recordings:
            other = places.setdefault(one.place, one)
            if other is not one:
                raise ConfigError(
                    f"{other.name} and {one.name} would have their answers in one file, "
                    f"{self._path(one)}; name the folder that holds both, or judge them apart"
                )
            if not self._is_ours and self._path(one).exists():
                raise ConfigError(
                    f"{self._path(one)} is there already, and mersa predict did not write it; name "
                    "another folder for the answers"
                )
        write_json(self._folder / FACTS, self._facts)
        return [one for one in recordings if self._again or not self._is_done(one)]

    def write(self, recording: Recording, prediction: Prediction) -> Path:
        """Write one answer and return its file."""
        path = self._path(recording)
        write_text(path, self._form([(recording.name, prediction)]))
        return path

    def _path(self, recording: Recording) -> Path:
        place = self._folder / recording.place
        return place.with_name(place.name + self._form.suffix)

    def _is_done(self, recording: Recording) -> bool:
        path = self._path(recording)
        if not path.is_file() or recording.name == STANDARD_INPUT:
            return False
        source = recording.path
        if source is None or not source.exists():
            return source is None
        return source.stat().st_mtime_ns <= path.stat().st_mtime_ns


def _facts(folder: Path) -> Any:
    try:
        return json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / FACTS} cannot be read ({error}); name another folder for the answers"
        ) from None
