import json

import pytest

from mersa.errors import ConfigError
from mersa.recognize.turns import read_turns
from mersa.recognize.words import Word, find_words, in_time, join, read_words, untimed

SRT = """1
00:00:01,000 --> 00:00:03,000
I have <i>told</i> you

2
00:01:02,500 --> 00:01:04,000
so
"""
VTT = """WEBVTT

NOTE made by hand

01:00.000 --> 01:02.000 align:start
<v Ann>Good morning

intro
00:01:02.500 --> 00:01:04.000
<v Bob>Hello
"""
WHISPER = {
    "text": " I told you",
    "segments": [
        {
            "start": 0.5,
            "end": 2.0,
            "text": " I told you",
            "words": [
                {"start": 0.5, "end": 0.6, "word": " I"},
                {"start": 0.6, "end": 1.0, "word": " told"},
                {"start": 1.8, "end": 2.0, "word": " you"},
            ],
        }
    ],
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_subtitles_are_read_and_their_words_spread_by_letters(tmp_path):
    words = read_words(write(tmp_path / "a.srt", SRT))

    assert words.text == "I have told you so"
    assert words.source == "a.srt"
    assert [(cue.start_s, cue.end_s) for cue in words.cues] == [(1.0, 3.0), (62.5, 64.0)]
    assert [(word.text, round(word.start_s, 3)) for word in words.timed] == [
        ("I", 1.0),
        ("have", round(1 + 2 / 12, 3)),
        ("told", round(1 + 10 / 12, 3)),
        ("you", 2.5),
        ("so", 62.5),
    ]


def test_voices_of_webvtt_are_speakers(tmp_path):
    words = read_words(write(tmp_path / "a.vtt", VTT))

    assert [(word.text, word.speaker) for word in words.timed] == [
        ("Good", "Ann"),
        ("morning", "Ann"),
        ("Hello", "Bob"),
    ]
    assert join(words.within(0, 100, "Bob")) == "Hello"
    assert words.cues[0].start_s == 60.0


def test_json_of_whisper_gives_the_times_of_words(tmp_path):
    words = read_words(write(tmp_path / "a.json", WHISPER))

    assert join(words.within(0.0, 1.0)) == "I told"
    assert join(words.within(1.0, 2.0)) == "you"


def test_a_list_of_stretches_is_enough(tmp_path):
    stretches = [{"start_s": 1, "end_s": 2, "text": "one", "speaker": "a"}]

    words = read_words(write(tmp_path / "a.json", stretches))

    assert words.timed == (Word(1.0, 2.0, "one", "a"),)


def test_a_text_has_no_times(tmp_path):
    assert read_words(write(tmp_path / "a.txt", " so it is\n")) == untimed("so it is", "a.txt")
    assert read_words(write(tmp_path / "a.json", {"text": "so"})) == untimed("so", "a.json")


def test_a_word_belongs_where_its_middle_lies():
    words = in_time([Word(0.0, 1.2, "a"), Word(0.9, 1.3, "b"), Word(1.4, 1.6, "c")], "given")

    assert join(words.within(0.0, 1.1)) == "a"
    assert join(words.within(1.1, 1.5)) == "b"
    assert join(words.within(1.5, 9.0)) == "c"


def test_words_are_found_by_the_recordings_name(tmp_path):
    write(tmp_path / "call.srt", SRT)
    write(tmp_path / "call.txt", "so")
    write(tmp_path / "film.mp4.vtt", VTT)
    recording = tmp_path / "elsewhere" / "call.wav"

    assert find_words(recording, tmp_path) == tmp_path / "call.srt"
    assert find_words(tmp_path / "film.mp4", tmp_path) == tmp_path / "film.mp4.vtt"
    assert find_words(tmp_path / "other.wav", tmp_path) is None
    assert find_words(recording, tmp_path / "call.txt") == tmp_path / "call.txt"
    with pytest.raises(ConfigError, match="absent does not exist; name a file of words or a fold"):
        find_words(recording, tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.doc", "x", r"a\.doc is no file of words that is known; give one of \.json, \.vtt"),
        ("a.srt", "no times", r"a\.srt holds no words with times; give subtitles, or a \.txt"),
        ("a.json", "{", r"a\.json is not JSON .*; write it again"),
        ("a.json", "3", r"a\.json is no list of stretches; give objects with start, end and t"),
        ("a.json", {"words": 1}, r"a\.json has neither segments nor text; give objects with"),
        ("a.json", [{"text": "x", "start": 1}], r"stretch 1 has start 1 and end None, but seconds"),
        ("a.json", [{"text": "x", "start": 2, "end": 1}], r"start 2 and end 1, but seconds in ord"),
        (
            "a.json",
            [{"start": 0, "end": 1, "words": [{"start": 0, "end": 1}]}],
            r"stretch 1: a word has no text; give each start, end and word",
        ),
        ("a.json", [{"start": 0, "end": 1, "words": ["x"]}], r"word 'x' is no object with start"),
    ],
)
def test_bad_files_of_words_are_refused(name, content, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_words(write(tmp_path / name, content))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("ü".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"a\.txt is not UTF-8 text; save it as UTF-8"):
        read_words(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"b\.srt cannot be read \(No such file .*; name a file"):
        read_words(tmp_path / "b.srt")


RTTM = "SPEAKER call 1 0.50 1.25 <NA> <NA> ann <NA> <NA>\nSPEAKER call 1 2 1 <NA> <NA> bob <NA>\n"


def test_turns_are_read_from_every_kind_of_file(tmp_path):
    table = write(tmp_path / "a.csv", "start,end,speaker\n0.5,1.75,ann\n2,3,bob\n")
    listed = write(
        tmp_path / "a.json",
        [
            {"start_s": 0.5, "end_s": 1.75, "speaker": "ann"},
            {"start": 2, "end": 3, "speaker": "bob"},
        ],
    )
    diarization = write(tmp_path / "a.rttm", RTTM)

    turns = read_turns(table)

    assert [(one.start_s, one.end_s, one.speaker) for one in turns] == [
        (0.5, 1.75, "ann"),
        (2.0, 3.0, "bob"),
    ]
    assert read_turns(listed) == turns
    assert read_turns(diarization, "whatever") == turns


def test_of_several_recordings_in_a_diarization_one_is_taken(tmp_path):
    path = write(tmp_path / "a.rttm", RTTM + RTTM.replace("call", "other"))

    assert len(read_turns(path, "other")) == 2
    with pytest.raises(ConfigError, match="tells of 2 recordings, but not of 'x'; name the record"):
        read_turns(path, "x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.srt", "x", r"a\.srt is no file of times that is known; give one of \.csv, \.json"),
        ("a.csv", "begin,end\n1,2\n", r"turn 1 has no start, but seconds were expected; it has b"),
        ("a.csv", "start,end\nx,2\n", r"turn 1 has start_s 'x', but input should be a valid num"),
        ("a.csv", "start,end\n-1,2\n", r"turn 1 has start_s '-1', but input should be greater th"),
        ("a.json", [], r"a\.json holds no turns; give at least one with start and end"),
        ("a.json", {"x": 1}, r"a\.json is no list of turns; give objects with start and end"),
        ("a.rttm", "SPEAKER a 1 x", r"line 1 is no turn of RTTM; it needs a start, a length and"),
    ],
)
def test_bad_files_of_times_are_refused(name, content, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_turns(write(tmp_path / name, content))


@pytest.mark.parametrize("kind", ["csv", "json", "rttm"])
def test_times_that_are_not_there_are_refused(kind, tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.\w+ (does not exist|cannot be read).*name a f"):
        read_turns(tmp_path / f"absent.{kind}")
