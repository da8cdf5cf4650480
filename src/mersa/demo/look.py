"""The look of the page beside Gradio's own: quiet, readable on a phone, light and dark."""

STYLE = """
.gradio-container { max-width: 76rem !important; width: 100% !important;
  margin: 0 auto !important; }
@media (max-width: 40rem) { .gradio-container > .main { padding: .8rem !important; } }
.gradio-container h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0 .2rem; }
.gradio-container .html-container { padding: 0 !important; }
.quiet, figcaption { color: var(--body-text-color); opacity: .75; }
.quiet { font-size: .92rem; margin: .2rem 0; }
.told { font-size: 1.35rem; line-height: 1.3; margin: .2rem 0; }
#timeline figure, #attention figure { margin: .6rem 0 0; }
.wide, .rows { contain: inline-size; }  /* else they would widen a phone's page */
.wide { overflow-x: auto; background: #fff; border-radius: 6px; }
.wide img { display: block; width: 100%; min-width: 34rem; height: auto; }
.dark .wide { filter: invert(.9); }
figcaption { font-size: .85rem; }
.rows { overflow: auto; max-height: 24rem; border: 1px solid var(--border-color-primary);
  border-radius: 6px; }
.rows table { border-collapse: collapse; width: 100%; font-size: .9rem; }
.rows th, .rows td { padding: .35rem .6rem !important; text-align: left;
  vertical-align: top; border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important; }
.rows table, .rows tr { border: 0 !important; }
.rows th { position: sticky; top: 0; background: var(--background-fill-secondary); }
.rows td { white-space: nowrap; }
.rows td:last-child { white-space: normal; min-width: 9rem; width: 100%; }
#card table { display: block; overflow-x: auto; }
#card th, #card td { white-space: nowrap; }
.words span { padding: .08rem .22rem; border-radius: 3px; line-height: 1.9;
  background: rgba(120, 120, 120, calc(var(--share) * .6)); }
"""
