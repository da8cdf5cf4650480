"""What the page says besides answers."""

CAUTION = (
    "A score says how much the recording resembles what the annotators of the training corpus "
    "called by a word. It does not say what a person feels."
)

IN_SHORT = """\
* A score says how much a recording resembles what annotators of the training corpus called by a
  word. It does not say what a person feels, and it is no lie detector and no diagnosis.
* Most corpora are acted, in one language, by few speakers. Other voices, ages, languages, cultures,
  microphones, illness and disability change the scores. Measure the error on people like yours
  before you rely on it: `mersa evaluate --by COLUMN`.
* In the European Union it is forbidden to infer the emotions of people at work and in education
  from their voice, except for medical or safety reasons (AI Act, Article 5(1)(f)). Most other uses
  are high-risk, and people must be told that such a system is used (Article 50(3)).
* Voices are personal data. Ask the people who speak, and tell them what you do with the answer.
* Do not let a score decide about a person: not on hiring, dismissal, grades, credit, insurance,
  care, asylum or guilt.
"""
"""Stands word for word in docs/responsible-use.md, which says more."""

ATTENTION = (
    "How much the network's last summary takes of each word and each moment, followed back through "
    "its attentions; all shares sum to 1. This says where its input comes from. It is no "
    "explanation of the answer, which may be the same without the most shaded word. Marks "
    "in brackets are the encoder's own."
)

NOTHING_KEPT = (
    "What you send stays on the machine that runs this page. It is removed {minutes} minutes "
    "after it came, and when the page is stopped."
)
