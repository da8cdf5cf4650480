"""What the words alone give away: texts and whole dialogues that stand in train and test."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mersa.audit.overlaps import Shared
from mersa.folds import Fold, natural_key, normalise_text
from mersa.manifest import Utterance

LONG_WORDS = 4
"""A text of so many words is seldom said twice by chance."""


@dataclass(frozen=True, kw_only=True)
class TextTwins:
    """What the texts that train and test share tell of the labels, all folds together.

    Attributes:
        num_shared: Test utterances whose text is in train.
        texts: The different texts of these.
        right: Those whose label is the one that train gives most often to their text; of equally
            common ones, the one that is commoner in all of train.
        guessed: Those whose label is the commonest one in all of train.
        unseen_label: Those whose label train never gives to their text.
        unseen_label_texts: The different texts of these.
        mixed: Train utterances whose text has more than one label in train.
        num_train: All train utterances.
        mixed_texts: The different texts of `mixed`.
    """

    num_shared: int
    texts: int
    right: int
    guessed: int
    unseen_label: int
    unseen_label_texts: int
    mixed: int
    num_train: int
    mixed_texts: int

    def lines(self) -> list[str]:
        """Return sentences for the terminal."""
        said = []
        if self.num_shared:
            said.append(
                f"{self.texts:,} different texts are shared; the label that train gives most often "
                f"to the text is right for {self.right / self.num_shared:.1%}, that of most train "
                f"utterances for {self.guessed / self.num_shared:.1%}"
            )
        if self.unseen_label:
            said.append(
                f"test utterances with a label that train never gives to their text: "
                f"{self.unseen_label:,} ({self.unseen_label_texts:,} different texts)"
            )
        if self.mixed:
            said.append(
                f"train utterances whose text has other labels too: {self.mixed:,} of "
                f"{self.num_train:,} ({self.mixed_texts:,} different texts)"
            )
        return said


@dataclass(frozen=True)
class DialogueTwins:
    """Test dialogues whose texts are, in order, those of another dialogue in train.

    Attributes:
        pairs: Of each fold, the dialogues of test, each with its twin in train.
        num_test_dialogues: All test dialogues, summed over the folds.
    """

    pairs: tuple[tuple[tuple[str, str], ...], ...]
    num_test_dialogues: int

    @property
    def num_shared(self) -> int:
        """Test dialogues with a twin, summed over the folds."""
        return sum(map(len, self.pairs))

    def lines(self) -> list[str]:
        """Return a sentence for the terminal, if there is something to say."""
        if not self.num_shared:
            return []
        test, train = next(pair for pairs in self.pairs for pair in pairs)
        return [
            f"test dialogues that repeat a train dialogue word for word: {self.num_shared:,} of "
            f"{self.num_test_dialogues:,} (as {test} = {train})"
        ]


def text_twins(
    texts: Mapping[str, str], label_of: Mapping[str, str], folds: Sequence[Fold], shared: Shared
) -> TextTwins:
    """Count what shared texts tell of the labels.

    Args:
        texts: Normalised text of each utterance by id; empty ones count for nothing.
        label_of: Label of each utterance by id.
        folds: The cuts.
        shared: The test utterances whose text is in train.
    """
    known: set[str] = set()
    unseen_texts: set[str] = set()
    mixed_texts: set[str] = set()
    right = guessed = unseen = mixed = num_train = 0
    for fold, hits in zip(folds, shared.hits, strict=True):
        train = [id_ for id_, part in fold.parts.items() if part == "train"]
        given: dict[str, Counter[str]] = defaultdict(Counter)
        for id_ in train:
            given[texts[id_]][label_of[id_]] += 1
        given.pop("", None)
        overall = Counter(label_of[id_] for id_ in train)
        several = {text for text, counts in given.items() if len(counts) > 1}
        mixed_texts |= several
        mixed += sum(given[text].total() for text in several)
        num_train += len(train)
        for id_ in hits:
            counts = given[texts[id_]]
            known.add(texts[id_])
            most = max(counts, key=lambda label: (counts[label], overall[label], label))
            right += label_of[id_] == most
            guessed += label_of[id_] == overall.most_common(1)[0][0]
            if not counts[label_of[id_]]:
                unseen += 1
                unseen_texts.add(texts[id_])
    return TextTwins(
        num_shared=shared.num_shared,
        texts=len(known),
        right=right,
        guessed=guessed,
        unseen_label=unseen,
        unseen_label_texts=len(unseen_texts),
        mixed=mixed,
        num_train=num_train,
        mixed_texts=len(mixed_texts),
    )


def dialogue_twins(utterances: Iterable[Utterance], folds: Sequence[Fold]) -> DialogueTwins:
    """Find test dialogues that repeat another dialogue, of train, word for word.

    Texts are normalised and stand in order of id, in which numbers count as numbers. A dialogue of
    fewer than two texts has no twin.

    Args:
        utterances: All of the manifest, since a dialogue is compared whole.
        folds: The cuts.
    """
    dialogue_of: dict[str, str] = {}
    spoken: dict[str, list[str]] = defaultdict(list)
    for utterance in sorted(utterances, key=lambda one: natural_key(one.id)):
        if utterance.dialogue:
            dialogue_of[utterance.id] = utterance.dialogue
            spoken[utterance.dialogue].append(normalise_text(utterance.text))
    words = {name: tuple(texts) for name, texts in spoken.items() if sum(map(bool, texts)) >= 2}
    pairs, num_test_dialogues = [], 0
    for fold in folds:
        in_part: dict[str, set[str]] = defaultdict(set)
        for id_, part in fold.parts.items():
            if id_ in dialogue_of:
                in_part[part].add(dialogue_of[id_])
        trained: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name in sorted(in_part["train"] & set(words)):
            trained[words[name]].append(name)
        found = []
        for name in sorted(in_part["test"] & set(words)):
            twin = next((other for other in trained.get(words[name], ()) if other != name), None)
            if twin is not None:
                found.append((name, twin))
        pairs.append(tuple(found))
        num_test_dialogues += len(in_part["test"])
    return DialogueTwins(tuple(pairs), num_test_dialogues)
