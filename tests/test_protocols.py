import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mersa.errors import ProtocolError
from mersa.folds import SHARED, leaks
from mersa.manifest import PARTS, Utterance
from mersa.protocols import PROTOCOLS, choose, cut, keeps_apart

EMOTIONS = ("anger", "happy", "sad", "neutral")


def corpus(num=240, num_speakers=8, num_dialogues=24, **columns):
    """Utterances of dialogues between two speakers, in an order that is not sorted."""
    made = [
        Utterance(
            id=f"u{number:04}",
            text=f"Words {number}",
            emotion=EMOTIONS[number % 4 if number % 5 else 0],
            speaker=f"s{number % num_speakers}",
            dialogue=f"d{number % num_dialogues}",
            session=f"Ses{number % 5}",
            **columns,
        )
        for number in range(num)
    ]
    random.Random(0).shuffle(made)
    return made


def with_parts(made, cycle):
    return [Utterance(**{**vars(one), "part": cycle[int(one.id[1:]) % len(cycle)]}) for one in made]


OFFICIAL = with_parts(corpus(), ("train", "train", "train", "validation", "test"))
WITH_OFFICIAL = ("official", "speaker", "paper", "column:session", "column:speaker")


@pytest.mark.parametrize("protocol", WITH_OFFICIAL)
def test_each_fold_gives_every_utterance_one_part_in_sorted_order(protocol):
    folds = cut(OFFICIAL, protocol)

    for fold in folds:
        assert list(fold.parts) == sorted(one.id for one in OFFICIAL)
        assert set(fold.parts.values()) == set(PARTS)


@pytest.mark.parametrize("protocol", WITH_OFFICIAL)
def test_the_order_of_the_utterances_changes_nothing(protocol):
    shuffled = list(OFFICIAL)
    random.Random(1).shuffle(shuffled)

    one, two = cut(OFFICIAL, protocol, seed=3), cut(shuffled, protocol, seed=3)

    assert one == two
    assert [list(fold.parts) for fold in one] == [list(fold.parts) for fold in two]


@pytest.mark.parametrize("protocol", ["speaker", "paper", "column:session"])
def test_another_seed_gives_another_cut(protocol):
    assert cut(OFFICIAL, protocol, seed=0) != cut(OFFICIAL, protocol, seed=1)


def test_another_seed_tests_other_speakers_together():
    def tested(seed):
        return [
            {id_ for id_, part in fold.parts.items() if part == "test"}
            for fold in cut(OFFICIAL, "speaker", seed=seed)
        ]

    assert tested(0) != tested(1)


def test_official_parts_are_those_of_the_manifest():
    (fold,) = cut(OFFICIAL, "official")

    assert fold.name == ""
    assert fold.parts == {one.id: one.part for one in OFFICIAL}


def test_official_leaves_out_what_has_no_part():
    made = with_parts(corpus(), ("train", "", "validation", "test"))

    (fold,) = cut(made, "official")

    assert set(fold.parts) == {one.id for one in made if one.part}


def test_official_without_validation_cuts_it_out_of_train():
    made = with_parts(corpus(), ("train", "train", "test"))

    (fold,) = cut(made, "official")

    assert {id_ for id_, part in fold.parts.items() if part == "test"} == {
        one.id for one in made if one.part == "test"
    }
    assert Counter(fold.parts.values())["validation"] > 0


@pytest.mark.parametrize(("num_speakers", "num_folds"), [(3, 3), (4, 4), (5, 5), (8, 5), (12, 5)])
def test_each_speaker_is_tested_once_and_never_heard_in_training(num_speakers, num_folds):
    made = corpus(num_speakers=num_speakers)
    speaker = {one.id: one.speaker for one in made}

    folds = cut(made, "speaker")

    assert [fold.name for fold in folds] == [f"fold-{n}" for n in range(1, num_folds + 1)]
    tested = Counter()
    for fold in folds:
        heard = defaultdict(set)
        for id_, part in fold.parts.items():
            heard[part].add(speaker[id_])
        assert not heard["test"] & (heard["train"] | heard["validation"])
        tested.update(heard["test"])
    assert tested == Counter(set(speaker.values()))


def test_who_has_no_name_is_left_out_by_speaker():
    nameless = Utterance(id="v1", emotion="anger")

    folds = cut([*corpus(), nameless], "speaker")

    assert all("v1" not in fold.parts for fold in folds)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(10, 400), min_size=2, max_size=6), st.integers(0, 1000))
def test_the_paper_s_cut_holds_each_emotion_in_eight_one_one(counts, seed):
    made = [
        Utterance(id=f"{number}-{label}", emotion=f"e{label}")
        for label, count in enumerate(counts)
        for number in range(count)
    ]

    (fold,) = cut(made, "paper", seed=seed)

    emotion = {one.id: one.emotion for one in made}
    cells = Counter((emotion[id_], part) for id_, part in fold.parts.items())
    for label, count in enumerate(counts):
        for part, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
            assert abs(cells[f"e{label}", part] - share * count) <= 1.5  # two cuts, each rounds
    whole = Counter(fold.parts.values())
    assert abs(whole["validation"] - sum(counts) / 10) <= 1
    assert abs(whole["test"] - sum(counts) / 10) <= 1


def test_the_paper_s_cut_of_iemocap_is_within_one_utterance():
    counts = {"anger": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
    made = [
        Utterance(id=f"{emotion}{number}", emotion=emotion)
        for emotion, count in counts.items()
        for number in range(count)
    ]

    (fold,) = cut(made, "paper")

    emotion = {one.id: one.emotion for one in made}
    cells = Counter((emotion[id_], part) for id_, part in fold.parts.items())
    for name, count in counts.items():
        assert abs(cells[name, "train"] - 0.8 * count) < 1
        assert abs(cells[name, "validation"] - 0.1 * count) < 1
        assert abs(cells[name, "test"] - 0.1 * count) < 1


def test_a_column_gives_a_fold_for_each_value_in_natural_order():
    made = [
        Utterance(**{**vars(one), "extras": {"take": str(int(one.id[1:]) % 11)}})
        for one in corpus()
    ]

    folds = cut(made, "column:take")

    assert [fold.name for fold in folds] == [f"fold-{n}" for n in range(1, 12)]
    take = {one.id: one.extras["take"] for one in made}
    tested = [{take[id_] for id_, part in fold.parts.items() if part == "test"} for fold in folds]
    assert tested == [{str(number)} for number in range(11)]


def test_words_in_a_column_stand_after_its_numbers():
    values = ("b", "10", "9", "a")
    made = [
        Utterance(**{**vars(one), "extras": {"take": values[int(one.id[1:]) % 4]}})
        for one in corpus()
    ]

    folds = cut(made, "column:take")

    take = {one.id: one.extras["take"] for one in made}
    first = [next(take[id_] for id_, part in f.parts.items() if part == "test") for f in folds]
    assert first == ["9", "10", "a", "b"]


def test_what_has_no_value_in_the_column_is_left_out():
    without = Utterance(id="v1", emotion="anger")

    folds = cut([*corpus(), without], "column:session")

    assert len(folds) == 5
    assert all("v1" not in fold.parts for fold in folds)


def test_a_file_gives_the_parts(tmp_path):
    made = corpus(num=120)
    cycle = ("train", "test", "validation", "")
    rows = [f"{one.id},{cycle[int(one.id[1:]) % 4]}" for one in made]
    path = tmp_path / "parts.csv"
    path.write_text("\n".join(["id,part", *rows, "elsewhere,train"]) + "\n")

    (fold,) = cut(made, f"file:{path}")

    assert fold.parts == {
        id_: cycle[int(id_[1:]) % 4]
        for id_ in sorted(one.id for one in made)
        if int(id_[1:]) % 4 != 3
    }
    assert list(fold.parts) == sorted(fold.parts)


def groups_of(made, fold, column):
    inside = defaultdict(set)
    for one in made:
        inside[fold.parts[one.id]].add(one.column(column))
    return inside


@pytest.mark.parametrize("column", ["speaker", "dialogue", "session"])
def test_validation_is_cut_by_whole_groups(column):
    made = with_parts(corpus(num_speakers=8), ("train",) * 5 + ("test",))

    (fold,) = cut(made, "official", validation_group=column, validation_share=0.25)

    groups = groups_of(made, fold, column)
    assert groups["validation"]
    assert not groups["validation"] & groups["train"]
    num = len(groups["validation"] | groups["train"])
    assert len(groups["validation"]) == max(1, round(0.25 * num))


@pytest.mark.parametrize(
    ("num_speakers", "num_dialogues", "column"),
    [(8, 24, "speaker"), (3, 24, "speaker"), (2, 24, "dialogue"), (2, 2, "id")],
)
def test_validation_is_cut_by_the_widest_group_that_can_be(num_speakers, num_dialogues, column):
    made = with_parts(
        corpus(num_speakers=num_speakers, num_dialogues=num_dialogues), ("train",) * 6 + ("test",)
    )

    auto = cut(made, "official", seed=5)

    by_name = {"id": "utterance"}.get(column, column)
    assert auto == cut(made, "official", seed=5, validation_group=by_name)
    others = {"speaker", "dialogue", "utterance"} - {by_name}
    assert all(auto != cut(made, "official", seed=5, validation_group=one) for one in others)


def test_validation_holds_every_emotion_if_any_draw_does():
    """One dialogue in eight has the rare emotion; a draw of two misses it most often."""
    made = [
        Utterance(
            id=f"u{number:03}",
            emotion="fear" if number % 16 in (0, 8) and number < 96 else EMOTIONS[number // 16 % 4],
            dialogue=f"d{number % 16}",
            part="test" if number % 9 == 0 else "train",
        )
        for number in range(192)
    ]

    (fold,) = cut(made, "official", validation_group="dialogue", validation_share=0.1)

    emotions = groups_of(made, fold, "emotion")
    assert emotions["validation"] == emotions["train"] == {*EMOTIONS, "fear"}


def test_validation_misses_as_few_emotions_as_can_be():
    """Four speakers have one emotion each, one has three of four: no draw of one holds all."""
    made = [
        Utterance(
            id=f"u{number:03}",
            emotion=EMOTIONS[number % 4],
            speaker=f"s{number % 4}" if number % 8 < 5 else "most",
            part="train" if number % 9 else "test",
        )
        for number in range(160)
    ]

    (fold,) = cut(made, "official", validation_group="speaker", validation_share=0.1)

    assert groups_of(made, fold, "speaker")["validation"] == {"most"}


def test_the_protocols_leak_what_they_say():
    (paper,), speaker = cut(OFFICIAL, "paper"), cut(OFFICIAL, "speaker")

    assert leaks(OFFICIAL, paper)["speaker"] == 1
    assert all(leaks(OFFICIAL, fold)["speaker"] == 0 for fold in speaker)


@pytest.mark.parametrize("protocol", ["official", "speaker", "paper"])
def test_nothing_to_cut_is_told(protocol):
    with pytest.raises(ProtocolError, match=r"no labelled utterance is left .*choose data\.labels"):
        cut([], protocol)


@pytest.mark.parametrize(
    "protocol",
    [
        *("loso", "column", "column:", "file:", "Official"),
        *("speaker:5", "official:x", "paper:x", "speaker:"),
    ],
)
def test_an_unknown_protocol_is_told(protocol):
    with pytest.raises(
        ProtocolError, match=rf"'{protocol}' does not exist; choose one of auto, .*file:PATH"
    ):
        cut(OFFICIAL, protocol)


def test_official_without_parts_is_told():
    with pytest.raises(ProtocolError, match=r"needs the column 'part', but .*--protocol speaker"):
        cut(corpus(), "official")


def test_an_emotion_too_rare_for_the_paper_s_cut_is_told():
    rare = [Utterance(id=f"v{number}", emotion="fear") for number in range(9)]

    with pytest.raises(
        ProtocolError, match=r"'fear' has 9 utterances, .*needs 10; leave it out of data\.labels"
    ):
        cut([*corpus(), *rare], "paper")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,part\nu0001,train\n", r"has name, part, but the columns 'id' and 'part' are needed"),
        ("id,part\n", r"has no rows, but the columns 'id' and 'part'"),
        ("id,part\nu0001,dev\n", r"has part 'dev'; parts are train, validation, test"),
        ("id,part\nu0001,\nu0002,\n", r"gives no utterance a part; write train, validation, test "),
        ("id,part\nx1,train\n", r"names no utterance .*first id is 'x1', .*'u0000'\); give the pa"),
    ],
)
def test_a_wrong_file_of_parts_is_told(tmp_path, content, message):
    path = tmp_path / "parts.csv"
    path.write_text(content)

    with pytest.raises(ProtocolError, match=rf"parts\.csv {message}"):
        cut(corpus(), f"file:{path}")


def test_a_missing_file_of_parts_is_told(tmp_path):
    with pytest.raises(
        ProtocolError,
        match=r"'file:.*parts\.csv' names a file that is not there; name a table .*'id' and 'part'",
    ):
        cut(corpus(), f"file:{tmp_path / 'parts.csv'}")


@pytest.mark.parametrize(("column", "num"), [("take", 1), ("nothing", 0)])
def test_a_column_that_cuts_nothing_is_told(column, num):
    made = corpus(extras={"take": "1", "room": "2"})

    with pytest.raises(
        ProtocolError,
        match=rf"'column:{column}' needs at least two values .*but {num} stand there; .*room, take",
    ):
        cut(made, f"column:{column}")


def test_too_few_speakers_are_told():
    with pytest.raises(
        ProtocolError, match=r"at least 3 groups by the column 'speaker', but 2 stand there; fill"
    ):
        cut(corpus(num_speakers=2), "speaker")


def test_a_train_part_of_one_group_is_told():
    made = with_parts(corpus(num_speakers=1), ("train", "test"))

    with pytest.raises(
        ProtocolError, match=r"by 'speaker', but train has 1 of them; .*data\.validation_group"
    ):
        cut(made, "official", validation_group="speaker")


def test_a_fold_whose_train_is_of_one_group_is_named():
    made = corpus(num_speakers=8)

    with pytest.raises(ProtocolError, match=r"but train of fold-1 has 1 of them"):
        cut(
            [Utterance(**{**vars(one), "dialogue": "d"}) for one in made],
            "column:speaker",
            validation_group="dialogue",
        )


@pytest.mark.parametrize("absent", ["train", "test"])
def test_a_part_that_comes_out_empty_is_told(absent):
    made = with_parts(corpus(), tuple(part for part in PARTS if part != absent))

    with pytest.raises(
        ProtocolError, match=rf"the {absent} part is empty; choose another protocol, or data\.lab"
    ):
        cut(made, "official")


def test_an_id_twice_in_a_file_of_parts_is_refused(tmp_path):
    path = tmp_path / "parts.csv"
    path.write_text("id,part\na,train\nb,test\na,test\n")

    with pytest.raises(ProtocolError, match=r"names 'a' more than once; give each id one part"):
        cut([Utterance(id="a", emotion="sad")], f"file:{path}")


def iemocap_like():
    """Five sessions of two speakers; three plays and five improvised scenarios in each."""
    made = []
    for session in range(1, 6):
        for scene in range(8):
            script = f"script0{scene + 1}" if scene < 3 else f"impro0{scene - 2}"
            for turn in range(8):
                made.append(
                    Utterance(
                        id=f"Ses0{session}_{script}_{turn}",
                        speaker=f"Ses0{session}{'FM'[turn % 2]}",
                        session=str(session),
                        dialogue=f"Ses0{session}_{script}",
                        emotion=EMOTIONS[(turn + scene) % 4],
                        # The last turn of every scene says the same; plays repeat word by word.
                        text="Yeah."
                        if turn == 7
                        else f"{script} line {turn}"
                        if scene < 3
                        else f"{script} {session} free {turn}",
                        extras={
                            "script": script,
                            "style": "scripted" if scene < 3 else "improvised",
                        },
                    )
                )
    return made


IEMOCAP_LIKE = iemocap_like()


def values(fold, part, key):
    by_id = {one.id: one for one in IEMOCAP_LIKE}
    return {key(by_id[id_]) for id_, held in fold.parts.items() if held == part}


def test_leaving_a_session_out_hears_its_speakers_nowhere_else():
    folds = cut(IEMOCAP_LIKE, "leave-one-session-out")

    assert [fold.held_out for fold in folds] == [f"session {number}" for number in range(1, 6)]
    for number, fold in enumerate(folds, start=1):
        assert values(fold, "test", lambda one: one.session) == {str(number)}
        for part in ("train", "validation"):
            assert str(number) not in values(fold, part, lambda one: one.session)
        assert len(fold.parts) == len(IEMOCAP_LIKE)


def test_leaving_a_speaker_out_tests_each_alone():
    folds = cut(IEMOCAP_LIKE, "leave-one-speaker-out")

    assert [fold.held_out for fold in folds][:3] == [
        "speaker Ses01F",
        "speaker Ses01M",
        "speaker Ses02F",
    ]
    assert len(folds) == 10
    for fold in folds:
        (tested,) = values(fold, "test", lambda one: one.speaker)
        assert tested not in values(fold, "train", lambda one: one.speaker)
        assert tested not in values(fold, "validation", lambda one: one.speaker)


@pytest.mark.parametrize("seed", [0, 1])
def test_dialogues_are_cut_8_to_1_to_1_and_stay_whole(seed):
    (fold,) = cut(IEMOCAP_LIKE, "dialogue", seed=seed)

    dialogues = {part: values(fold, part, lambda one: one.dialogue) for part in PARTS}
    assert {part: len(held) for part, held in dialogues.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    assert len(set.union(*dialogues.values())) == 40
    for part in PARTS:
        assert values(fold, part, lambda one: one.emotion) == set(EMOTIONS)
    assert fold != cut(IEMOCAP_LIKE, "dialogue", seed=seed + 7)[0]


def test_scripts_and_words_of_the_test_part_stand_in_no_other():
    folds = cut(IEMOCAP_LIKE, "script-disjoint")

    assert len(folds) == 5
    tested = []
    for fold in folds:
        scripts = values(fold, "test", lambda one: one.extras["script"])
        tested += sorted(scripts)
        words = values(fold, "test", lambda one: one.text)
        assert "Yeah." in words
        for part in ("train", "validation"):
            assert not scripts & values(fold, part, lambda one: one.extras["script"])
            assert not words & values(fold, part, lambda one: one.text)
        assert leaks(IEMOCAP_LIKE, fold)["script"] == leaks(IEMOCAP_LIKE, fold)["text"] == 0
        assert not values(fold, "train", lambda one: one.extras["script"]) & values(
            fold, "validation", lambda one: one.extras["script"]
        )
    assert len(tested) == len(set(tested)) == 8


def test_without_scripts_the_words_are_the_groups():
    made = [replace(one, extras={}) for one in IEMOCAP_LIKE]

    for fold in cut(made, "script-disjoint"):
        assert leaks(made, fold)["text"] == 0


def test_improvised_leaves_scripted_utterances_out():
    folds = cut(IEMOCAP_LIKE, "improvised")

    assert len(folds) == 5
    for fold in folds:
        assert {style for part in PARTS for style in values(fold, part, style_of)} == {"improvised"}
        assert len(fold.parts) == 200
        assert len(values(fold, "test", lambda one: one.session)) == 1


def style_of(one):
    return one.extras["style"]


def test_improvised_without_sessions_goes_by_speaker():
    made = [replace(one, session="") for one in IEMOCAP_LIKE]

    folds = cut(made, "improvised")

    assert [fold.held_out for fold in folds] == ["2 of 10 speakers"] * 5


@pytest.mark.parametrize("protocol", ["leave-one-session-out", "script-disjoint", "improvised"])
def test_train_validation_and_test_are_there_in_every_fold(protocol):
    for fold in cut(IEMOCAP_LIKE, protocol):
        assert set(fold.parts.values()) == set(PARTS)


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "leave-one-session-out"),
        ({"session": ""}, "speaker"),
        ({"session": "", "speaker": "Ann"}, "dialogue"),
    ],
)
def test_the_protocol_is_chosen_by_the_columns_that_are_filled(changes, chosen):
    made = [replace(one, **changes) for one in IEMOCAP_LIKE]

    assert choose(made) == chosen
    assert cut(made, "auto") == cut(made, chosen)


def test_published_parts_come_before_all():
    assert choose(OFFICIAL) == "official"


def test_parts_that_do_not_suffice_are_not_passed_over_in_silence():
    made = [replace(one, part="train") for one in IEMOCAP_LIKE]

    with pytest.raises(ProtocolError, match="the test part is empty; choose another protocol"):
        cut(made, "auto")


def test_sessions_that_share_speakers_are_not_taken_for_speaker_independent():
    made = [replace(one, speaker=one.speaker[-1] + one.id[-1]) for one in IEMOCAP_LIKE]

    assert choose(made) == "speaker"


def test_a_corpus_without_columns_to_cut_by_is_told():
    made = [replace(one, session="", speaker="Ann", dialogue="") for one in IEMOCAP_LIKE]

    with pytest.raises(
        ProtocolError,
        match=r"no parts, 1 speakers .* and 0 dialogues .*; fill .* or choose --protocol paper",
    ):
        cut(made, "auto")


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("leave-one-session-out", {"session": "1"}, r"two values in the column 'session', but 1"),
        ("leave-one-speaker-out", {"speaker": ""}, r"two values in the column 'speaker', but 0"),
        ("dialogue", {"dialogue": "d"}, r"at least 10 groups by the column 'dialogue', but 1 "),
        ("improvised", {"extras": {}}, r"'style' is 'improvised', but there are none; fill"),
        ("script-disjoint", {"text": "", "extras": {}}, r"groups by the column 'script', but 0 st"),
    ],
)
def test_a_protocol_that_the_corpus_has_no_column_for_is_told(protocol, changes, message):
    made = [replace(one, **changes) for one in IEMOCAP_LIKE]

    with pytest.raises(ProtocolError, match=message):
        cut(made, protocol)


def test_fewer_groups_than_folds_are_told():
    with pytest.raises(
        ProtocolError, match=r"10 groups .*'speaker' for data\.folds=10, but 8 .*ask for fewer fo"
    ):
        cut(OFFICIAL, "speaker", folds=10)
    assert len(cut(OFFICIAL, "speaker", folds=8)) == 8


@pytest.mark.parametrize("protocol", ["leave-one-speaker-out", "paper", "column:session", "auto"])
def test_a_number_of_folds_that_a_protocol_does_not_read_is_refused(protocol):
    with pytest.raises(
        ProtocolError,
        match=r"data\.folds=3 is not read by .*, but by speaker, script-disjoint, improvised alone",
    ):
        cut(OFFICIAL, protocol, folds=3)


def test_improvised_by_speaker_is_told_by_its_own_name():
    made = [replace(one, session="", speaker="Ann") for one in IEMOCAP_LIKE]

    with pytest.raises(ProtocolError, match="'improvised' needs at least 3 groups by the column"):
        cut(made, "improvised")


def test_what_is_kept_apart_is_kept_apart():
    for protocol in PROTOCOLS:
        protocol = {"column": "column:session"}.get(protocol, protocol)
        if protocol in ("auto", "official", "file"):
            continue
        apart = set(keeps_apart(protocol)) & set(SHARED)
        for fold in cut(IEMOCAP_LIKE, protocol):
            shares = leaks(IEMOCAP_LIKE, fold)
            assert {name: shares[name] for name in apart} == dict.fromkeys(apart, 0)


def test_dialogues_of_a_small_corpus_are_cut_though_no_emotion_fills_the_tenths():
    made = [
        Utterance(id=f"u{number:02}", dialogue=f"d{number % 12}", emotion=EMOTIONS[number % 4])
        for number in range(27)
    ]

    (fold,) = cut(made, "dialogue")

    assert set(fold.parts.values()) == set(PARTS)


def test_sessions_that_share_speakers_are_refused_where_speakers_are_kept_apart():
    made = [replace(one, speaker=one.speaker[-1]) for one in IEMOCAP_LIKE]

    with pytest.raises(
        ProtocolError, match=r"2 of them stand in several sessions, as 'F'; .* or column:session"
    ):
        cut(made, "leave-one-session-out")
    assert len(cut(made, "column:session")) == 5


def test_a_training_for_each_of_thousands_of_values_is_refused():
    made = [Utterance(id=f"u{n}", speaker=f"s{n}", emotion=EMOTIONS[n % 4]) for n in range(1001)]

    with pytest.raises(ProtocolError, match=r"would make 1,001 folds, .* such as speaker"):
        cut(made, "leave-one-speaker-out")
