"""The page by a person's steps in a real browser, which asks nothing of any other machine."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from mersa import Recognizer
from mersa.demo.card import shown
from mersa.demo.limits import PageLimits
from mersa.demo.local import LocalJudge
from mersa.demo.open import launch_page, uploads_removed
from mersa.demo.page import make_page
from mersa.demo.texts import CAUTION

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here, so no page is opened"
)

WORDS = "I am waiting for the house from my brother."
PATIENCE_S = 60


@pytest.fixture(scope="module")
def recognizer(small_run: Path) -> Recognizer:
    return Recognizer.from_pretrained(small_run, device="cpu")


@pytest.fixture(scope="module")
def page(recognizer: Recognizer, small_run: Path) -> Iterator[tuple[str, Path]]:
    """An open page of a run: its address, and the folder of what is sent."""
    with uploads_removed() as folder:
        blocks = make_page(
            LocalJudge(recognizer, longest_s=30),
            card=shown(recognizer.card),
            limits=PageLimits(kept_s=3600),
        )
        yield launch_page(blocks, port=_free_port()), folder
        blocks.close()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1200")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


@pytest.fixture
def person(browser: webdriver.Chrome, page: tuple[str, Path]) -> "Person":
    return Person(browser, page[0])


class Person:
    """Somebody before the page."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url
        browser.get(url)
        self.waits(lambda: self.one("#press").is_displayed())

    def one(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def waits(self, until: Callable) -> object:
        return WebDriverWait(self.browser, PATIENCE_S, ignored_exceptions=[Exception]).until(
            lambda _: until()
        )

    def sends(self, recording: Path) -> None:
        self.one("#recording input[type=file]").send_keys(str(recording))
        self.waits(lambda: not self.browser.find_elements(By.CSS_SELECTOR, "#recording input"))

    def types(self, words: str) -> None:
        self.one("#words textarea").send_keys(words)

    def presses(self) -> None:
        self.one("#press").click()

    def opens(self, tab: str) -> None:
        self.browser.find_element(By.XPATH, f"//button[@role='tab'][.='{tab}']").click()

    def reads(self, selector: str, wanted: str) -> str:
        """Wait until a part says something, and return all that it says."""
        return self.waits(
            lambda: (
                (said := self.one(selector).get_attribute("textContent"))
                and wanted in said
                and "processing" not in said  # what Gradio writes over a part until it is done
                and said
            )
        )


def test_the_answer_is_that_of_predict(person, recognizer, toy_corpus, downloads):
    recording = toy_corpus / "audio" / "toy_s4_d01_u03.ogg"
    expected = recognizer.predict(recording, WORDS)

    person.sends(recording)
    person.types(WORDS)
    person.presses()
    told = person.reads("#told", "confidence")
    table = person.reads("#segments-table", "words")
    scores = person.reads("#scores", expected.label)
    person.browser.find_element(By.XPATH, "//a[contains(@href, 'u03.json')]").click()
    file = person.waits(lambda: next(iter(downloads.glob("*.json")), None))

    assert told.split()[0] == expected.label
    assert f"{expected.confidence:.0%}".replace("%", "\N{NO-BREAK SPACE}%") in told
    assert WORDS in table
    assert all(label in scores for label in expected.scores)
    assert json.loads(file.read_text(encoding="utf-8")) == {
        "audio": recording.name,
        **json.loads(json.dumps(expected.as_dict())),
    }


def test_picture_attention_and_caution_stand_beside_the_answer(person, toy_corpus):
    person.sends(toy_corpus / "audio" / "toy_s4_d01_u03.ogg")
    person.types(WORDS)

    person.presses()
    person.reads("#told", "confidence")
    picture = person.waits(lambda: person.one("#timeline img"))
    person.browser.find_element(By.XPATH, "//button[contains(., 'Attention')]").click()
    attention = person.reads("#attention", "no explanation")

    assert picture.get_attribute("src").startswith("data:image/svg+xml")
    assert "0:00.00 to 0:01.63" in picture.get_attribute("alt")
    assert "brother" in attention
    assert CAUTION in person.one("body").text


def test_words_of_a_stranger_are_shown_as_they_are(person, toy_corpus):
    strange = "<img src=x onerror=alert(1)> ${1+1} {{2}}"
    person.sends(toy_corpus / "audio" / "toy_s4_d01_u03.ogg")
    person.types(strange)

    person.presses()
    table = person.reads("#segments-table", "onerror")

    assert strange in table
    assert not person.browser.find_elements(By.CSS_SELECTOR, "#segments-table img")


def test_a_bad_file_is_told_in_one_sentence(person, tmp_path):
    bad = tmp_path / "talk.wav"
    bad.write_text("no sound at all", encoding="utf-8")

    person.sends(bad)
    person.presses()
    told = person.reads(".toast-body", "talk.wav")

    assert "talk.wav is not audio that can be read; convert it" in told
    assert "mersa-demo" not in told  # the folder of what is sent


def test_a_recording_that_is_too_long_is_refused(person, tmp_path):
    sf.write(tmp_path / "long.wav", np.zeros(16_000 * 31, np.float32), 16_000)

    person.sends(tmp_path / "long.wav")
    person.presses()

    assert "longer than 0.5 minutes" in person.reads(".toast-body", "long.wav")


def test_silence_has_no_answer(person, tmp_path):
    sf.write(tmp_path / "still.wav", np.zeros(16_000, np.float32), 16_000)

    person.sends(tmp_path / "still.wav")
    person.presses()

    assert "no speech was found" in person.reads("#told", "No answer")


def test_nothing_sent_is_refused(person):
    person.presses()

    assert "nothing was sent" in person.reads(".toast-body", "recording")


def test_the_card_and_what_not_to_do_are_a_press_away(person):
    person.opens("Model")
    card = person.reads("#card", "Limits")
    person.opens("Responsible use")
    use = person.reads("#responsible", "Article 5(1)(f)")

    assert "library_name" not in card
    assert "60 minutes after it came" in use


def test_no_other_machine_is_asked(person, page, toy_corpus):
    person.sends(toy_corpus / "audio" / "toy_s4_d01_u03.ogg")
    person.presses()
    person.reads("#told", "confidence")

    events = [
        json.loads(one["message"])["message"] for one in person.browser.get_log("performance")
    ]
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert any(url.startswith(page[0]) for url in asked)
    assert [url for url in asked if not url.startswith((page[0], "data:", "blob:"))] == []


def test_what_was_sent_is_removed_in_time_and_at_the_end(browser, recognizer, toy_corpus):
    with uploads_removed() as folder:
        blocks = make_page(LocalJudge(recognizer), limits=PageLimits(kept_s=1))
        url = launch_page(blocks, port=_free_port())
        person = Person(browser, url)
        person.sends(toy_corpus / "audio" / "toy_s4_d01_u03.ogg")
        person.waits(lambda: any(folder.rglob("*.ogg")))
        person.waits(lambda: not any(path.is_file() for path in folder.rglob("*")))
        blocks.close()

    assert not folder.exists()


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
