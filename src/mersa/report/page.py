"""A report as one HTML page that needs no other file: tables, claims, pictures, attention."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mersa.evaluation import concatenate
from mersa.figures import draw_confusion, draw_reliability
from mersa.report.examples import RULE
from mersa.report.pictures import as_data_uri, draw_attention, draw_learning
from mersa.report.rows import Entry
from mersa.report.sheets import LEAK, NOT_RUN, STAND_INS, Sheet
from mersa.report.style import STYLE

_VERDICTS = {"holds": "yes", "does not hold": "no", "cannot be told": "open"}
_LONG = 18  # characters of a column from which its words wrap


def to_html(
    content: Mapping[str, Any],
    sheets: Sequence[Sheet],
    tables: Mapping[str, Mapping[str, Entry]],
    *,
    figures: Mapping[str, Path] | None = None,
) -> str:
    """Write a report as a page.

    Args:
        content: What the report says.
        sheets: The same as tables of text.
        tables: The runs of rows by table, of which pictures are drawn.
        figures: Further pictures, by what they say.
    """
    shown = figures or {}
    sections = [
        *_claim_cards(content["claims"]),
        *(part for sheet in sheets for part in _sheet(sheet)),
        *_figures(shown),
        *(part for table, entries in tables.items() for part in _pictures(table, entries)),
        *(part for example in content.get("examples", ()) for part in _example(example)),
    ]
    title = escape(content["title"])
    notes = "".join(f"<p>{_with_code(note)}</p>" for note in content["notes"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{title}</h1>{notes}</header>",
            _contents(sheets, shown, tables, content.get("examples", ())),
            "<main>",
            *sections,
            "</main>",
            f"<footer>Made by mersa {escape(content['mersa'])}.</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _contents(
    sheets: Sequence[Sheet],
    figures: Mapping[str, Path],
    tables: Mapping[str, Any],
    examples: Sequence[Mapping[str, Any]],
) -> str:
    links = [(sheet.name, sheet.title) for sheet in sheets]
    links += [("figures", "Figures")] if figures else []
    links += [(f"pictures-{table.lower()}", f"Table {table}: pictures") for table in tables]
    links += [
        (f"attention-{one['table'].lower()}", f"Table {one['table']}: attention")
        for one in examples
    ]
    items = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _claim_cards(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say in one glance how each claim fares in each table."""
    if not claims:
        return
    yield '<section class="cards" aria-label="Claims at a glance">'
    for says in dict.fromkeys(one["says"] for one in claims):
        answers = "".join(
            f'<li><span class="table">Table {one["table"]}</span> '
            f'<span class="verdict {_VERDICTS[one["verdict"]]}">{one["verdict"]}</span>'
            f"{f', {STAND_INS}' if one['stand_ins'] and not one['why'] else ''}</li>"
            for one in claims
            if one["says"] == says
        )
        yield f"<article><h2>{escape(says)}</h2><ul>{answers}</ul></article>"
    yield "</section>"


def _with_code(note: str) -> str:
    """Escape a note, and set what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(note))


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield f'<section id="{sheet.name}"><h2>{escape(sheet.title)}</h2>'
    yield '<div class="scroll" tabindex="0"><table>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in sheet.header)
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    kinds = [_kind(sheet, place) for place in range(len(sheet.header))]
    for row in sheet.rows:
        cells = "".join(_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True))
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"
    for note in sheet.notes:
        yield f'<p class="note">{escape(note)}</p>'
    yield "</section>"


def _kind(sheet: Sheet, place: int) -> str:
    """Tell how a column is set: numbers in one line each, short words too, long ones wrapped."""
    if place not in sheet.words:
        return "number"
    longest = max((len(row[place]) for row in sheet.rows), default=0)
    return "long" if longest > _LONG else "short"


def _cell(text: str, kind: str) -> str:
    names = [kind]
    names += ["leak"] if text.startswith(LEAK) or text.endswith(f" {LEAK}") else []
    names += ["absent"] if text == NOT_RUN else []
    verdict = re.split("[:,]", text)[0]
    names += [_VERDICTS[verdict]] if verdict in _VERDICTS else []
    told = escape(text)
    if kind == "number":  # an interval goes beneath its score, and a word beneath both
        told = told.replace(" [", "<br>[").replace("], ", "],<br>")
    return f'<td class="{" ".join(names)}">{told}</td>'


def _pictures(table: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    yield f'<section id="pictures-{table.lower()}"><h2>Table {table}: pictures</h2>'
    for id_, entry in entries.items():
        answers = concatenate(entry.answers)
        num = len(entry.seeds)
        several = f"; {num} seeds together, so each utterance counts {num} times" if num > 1 else ""
        name = f"{id_}, {entry.row.model}, {entry.row.method}"
        yield f"<h3>{escape(name)}{several}</h3>"
        yield '<div class="pictures">'
        yield _picture(draw_confusion(answers), f"Confusion matrix of row {id_}")
        yield _picture(draw_reliability(answers), f"Reliability of row {id_}")
        yield _picture(draw_learning(entry.histories()), f"Learning curves of row {id_}")
        yield "</div>"
    yield "</section>"


def _figures(figures: Mapping[str, Path]) -> Iterator[str]:
    if not figures:
        return
    yield '<section id="figures"><h2>Figures</h2>'
    for says, path in figures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        yield _figure(f"data:image/png;base64,{data}", says)
    yield "</section>"


def _picture(drawn: Any, says: str) -> str:
    return _figure(as_data_uri(drawn), says)


def _figure(source: str, says: str) -> str:
    return (
        f'<figure><img alt="{escape(says)}" src="{source}">'
        f"<figcaption>{escape(says)}</figcaption></figure>"
    )


def _example(example: Mapping[str, Any]) -> Iterator[str]:
    table = example["table"]
    yield f'<section id="attention-{table.lower()}"><h2>Table {table}: attention</h2>'
    if example["why"]:
        yield f'<p class="note">Not shown: {escape(example["why"])}.</p></section>'
        return
    yield (
        f'<p class="note">Row {example["row"]}, seed {example["seed"]}. {escape(RULE)}. A share is '
        "what the network's last summary takes of a word or a moment, followed back through all "
        "its attentions; those of all words and moments sum to 1. It says where input comes from, "
        "not what would change without it.</p>"
    )
    yield '<div class="examples">'
    for one in example["utterances"]:
        attention = one["attention"]
        right = one["truth"] == one["answer"]
        verdict = "rightly" if right else f"wrongly, for it is {one['truth']}"
        yield f"<article><h3>{escape(one['id'])}</h3>"
        yield (
            f"<p>{escape(one['answer'])} at {one['confidence']:.3f}, {escape(verdict)}; share of "
            f"the words {sum(attention['traced_words']):.3f}, of the sound "
            f"{sum(attention['traced_sound']):.3f}</p>"
        )
        yield f'<p class="words">{_shaded(attention)}</p>'
        title = f"{one['answer']} at {one['confidence']:.2f}; truth: {one['truth']}"
        yield _picture(draw_attention(attention, title=title), f"Attention on {one['id']}")
        yield "</article>"
    yield "</div></section>"


def _shaded(attention: Mapping[str, Any]) -> str:
    """Shade each word by its share, the largest darkest."""
    largest = max(attention["traced_words"]) or 1.0
    return " ".join(
        f'<span style="--share:{share / largest:.3f}" title="{share:.4f}">{escape(word)}</span>'
        for word, share in zip(attention["words"], attention["traced_words"], strict=True)
    )
