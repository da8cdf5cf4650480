"""What is wrong with recordings: short, long, silent, clipped, unreadable, or there twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mersa.audit.hearing import CLIPPED_RUN, SILENT_DBFS, Heard, Sound
from mersa.manifest import Utterance

SHORT_S = (0.96, 0.4, 0.1)
"""Lengths below which recordings are counted; 0.96 s is one example of VGGish."""

LONG_S = 30.0
LENGTH_SLACK_S = 0.1
"""How far a length may be from the manifest's `duration_s`."""

_NAMED = 3  # recordings whose reason is told


@dataclass(frozen=True)
class Finding:
    """Utterances that something is wrong with.

    Attributes:
        name: How JSON calls it.
        says: What follows their number.
        ids: Of these utterances, in sorted order.
        within: Whether they are among those of the finding before.
    """

    name: str
    says: str
    ids: tuple[str, ...]
    within: bool = False


@dataclass(frozen=True)
class Recordings:
    """What is wrong with recordings.

    Attributes:
        heard: What was read; None if nothing was to be read.
        timed: Utterances whose length is known.
        findings: The gravest first; lengths are judged only where some are known.
    """

    heard: Heard | None
    timed: int
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """Return a heading and a line for each finding that was made."""
        said = [f"recordings: {self._how()}"]
        found = [finding for finding in self.findings if finding.ids]
        width = max((len(f"{len(finding.ids):,}") for finding in found), default=0)
        for finding in found:
            says = f"of these {finding.says}" if finding.within else finding.says
            said.append(f"{len(finding.ids):>{width},} {says} (as {finding.ids[0]})")
            if finding.name == "unreadable" and self.heard:
                reasons = list(self.heard.unreadable.values())
                said += [f"{'':{width}} - {reason}" for reason in reasons[:_NAMED]]
        none = [
            finding.name.replace("_", " ")
            for finding in self.findings
            if not (finding.ids or finding.within)
        ]
        return [*said, f"none: {', '.join(none)}"] if none else said

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON, with all ids, reasons and shares of clipped samples."""
        sounds = self.heard.sounds if self.heard else {}
        return {
            "read": len(sounds) if self.heard else None,
            "seconds": round(sum(sound.length_s for sound in sounds.values()), 3),
            "timed": self.timed,
            "findings": {finding.name: list(finding.ids) for finding in self.findings},
            "unreadable": dict(self.heard.unreadable) if self.heard else {},
            "clipped_share": {id_: one.clipped for id_, one in sounds.items() if one.clipped},
        }

    def _how(self) -> str:
        if self.heard and (self.heard.sounds or self.heard.unreadable):
            hours = sum(sound.length_s for sound in self.heard.sounds.values()) / 3600
            return f"{len(self.heard.sounds):,} read, {hours:.2f} h"
        none = "the manifest names none" if self.heard else "not read"
        return f"{none}; {self.timed:,} lengths known" if self.timed else f"{none}; no length known"


def check(
    utterances: Sequence[Utterance], label_of: Mapping[str, str], heard: Heard | None
) -> Recordings:
    """Find what is wrong, the gravest first.

    Args:
        utterances: Those to judge.
        label_of: Their labels by id.
        heard: What was read; None judges by the lengths of the manifest alone.
    """
    length_s = _lengths(utterances, heard)
    short = [
        Finding(
            f"shorter_than_{limit_s:g}_s",
            f"shorter than {limit_s:g} s{' (one example of VGGish)' if limit_s == 0.96 else ''}",
            tuple(id_ for id_, seconds in length_s.items() if seconds < limit_s),
            within=limit_s != SHORT_S[0],
        )
        for limit_s in SHORT_S
    ]
    long = Finding(
        f"longer_than_{LONG_S:g}_s",
        f"longer than {LONG_S:g} s",
        tuple(id_ for id_, seconds in length_s.items() if seconds > LONG_S),
    )
    lengths = (*short, long) if length_s else ()
    if heard is None or not (heard.sounds or heard.unreadable):
        return Recordings(heard, len(length_s), lengths)
    findings = (
        Finding("unreadable", "cannot be read", tuple(heard.unreadable)),
        Finding(
            "no_recording",
            "without a recording",
            tuple(one.id for one in utterances if not one.audio),
        ),
        Finding(
            "silent",
            f"silent (every sample below {SILENT_DBFS:g} dBFS)",
            tuple(id_ for id_, sound in heard.sounds.items() if not sound.digest),
        ),
        *_repeated(heard.sounds, label_of),
        *lengths,
        Finding(
            "clipped",
            f"clipped ({CLIPPED_RUN} or more samples in a row at full scale; at worst "
            f"{max((sound.clipped for sound in heard.sounds.values()), default=0.0):.2%} of all)",
            tuple(id_ for id_, sound in heard.sounds.items() if sound.clipped),
        ),
        Finding(
            "other_length",
            f"over {LENGTH_SLACK_S:g} s longer or shorter than duration_s says",
            tuple(one.id for one in utterances if _differs(one, heard.sounds)),
        ),
    )
    return Recordings(heard, len(length_s), findings)


def _differs(utterance: Utterance, sounds: Mapping[str, Sound]) -> bool:
    if utterance.duration_s is None or utterance.id not in sounds:
        return False
    return abs(sounds[utterance.id].length_s - utterance.duration_s) > LENGTH_SLACK_S


def _lengths(utterances: Iterable[Utterance], heard: Heard | None) -> dict[str, float]:
    """Return known lengths by id, heard ones before written ones."""
    sounds = heard.sounds if heard else {}
    written = {one.id: one.length_s for one in utterances}
    known = {
        id_: sounds[id_].length_s if id_ in sounds else seconds for id_, seconds in written.items()
    }
    return {id_: seconds for id_, seconds in known.items() if seconds is not None}


def _repeated(sounds: Mapping[str, Sound], label_of: Mapping[str, str]) -> tuple[Finding, ...]:
    """Find sounds that stand more than once, and those of them whose labels differ."""
    groups: dict[str, list[str]] = defaultdict(list)
    for id_, sound in sounds.items():
        if sound.core:
            groups[sound.core].append(id_)
    several = [group for group in groups.values() if len(group) > 1]
    differing = [group for group in several if len({label_of[id_] for id_ in group}) > 1]
    return (
        Finding(
            "repeated_sound",
            "with the sound of another utterance, silence at its ends aside",
            tuple(sorted(id_ for group in several for id_ in group)),
        ),
        Finding(
            "repeated_sound_with_other_label",
            "under different labels",
            tuple(sorted(id_ for group in differing for id_ in group)),
            within=True,
        ),
    )
