"""The look of a report's page: readable on a phone and in print, light and dark."""

STYLE = """
:root { --ink: #1b1b1b; --quiet: #595959; --paper: #fff; --line: #d5d5d5; --tint: #f4f4f4;
  --yes: #1a6b35; --no: #a3241c; --open: #6b5a12; --link: #1a4f8b; --shade: 90, 90, 90; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --quiet: #ababab; --paper: #161616; --line: #3b3b3b; --tint: #212121;
    --yes: #7ed197; --no: #f0948d; --open: #dcc872; --link: #9cc4f0; --shade: 190, 190, 190; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 84rem;
  color: var(--ink); background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; list-style: none;
  font-size: .9rem; }
.note, footer { color: var(--quiet); font-size: .88rem; margin: .4rem 0; max-width: 62rem; }
footer { margin-top: 3rem; }
.scroll { overflow-x: auto; width: fit-content; max-width: 100%;
  border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; min-width: min(100%, 32rem); font-size: .86rem; }
th, td { padding: .38rem .6rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { background: var(--tint); font-weight: 600; vertical-align: bottom; }
tbody tr:last-child td { border-bottom: 0; }
td.short { white-space: nowrap; }
td.long { min-width: 11rem; max-width: 24rem; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.absent { color: var(--quiet); font-style: italic; }
td.leak { color: var(--no); font-weight: 700; }
td.yes, .verdict.yes { color: var(--yes); font-weight: 600; }
td.no, .verdict.no { color: var(--no); font-weight: 600; }
td.open, .verdict.open { color: var(--open); font-weight: 600; }
.cards { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
.cards article { border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; }
.cards h2 { font-size: 1rem; margin: 0 0 .4rem; }
.cards ul { margin: 0; padding: 0; list-style: none; }
.verdict { white-space: nowrap; }
.cards .table { display: inline-block; min-width: 4.6rem; color: var(--quiet); font-size: .9rem; }
.pictures { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); }
.examples { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); }
.examples article { border: 1px solid var(--line); border-radius: 6px; padding: .2rem .9rem .6rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; max-height: 34rem; object-fit: contain;
  background: #fff; }
figcaption { color: var(--quiet); font-size: .82rem; text-align: center; }
.words span { padding: .08rem .22rem; border-radius: 3px; line-height: 1.9;
  background: rgba(var(--shade), calc(var(--share) * .55)); }
@media (prefers-color-scheme: dark) { figure img { filter: invert(.91); } }
@media print {
  :root { --ink: #000; --quiet: #444; --paper: #fff; --line: #bbb; --tint: #f0f0f0;
    --yes: #1a6b35; --no: #a3241c; --open: #6b5a12; --link: #000; --shade: 90, 90, 90; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  nav { display: none; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 7pt; }
  th, td { padding: .15rem .25rem; min-width: 0; }
  td.number, td.short { white-space: normal; }
  tr, figure, .cards article, .examples article { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .pictures { grid-template-columns: repeat(3, 1fr); }
  .examples { grid-template-columns: repeat(2, 1fr); }
  figure img { filter: none; }
  @page { size: A4 landscape; margin: 12mm; }
}
"""
