"""Starting: `mersa --help` against an interpreter that only imports what draws the help.

python benchmarks/startup.py [--quick] [--repeats 15]
"""

import statistics
import subprocess
import sys
from collections.abc import Sequence

from common import arguments, finish, in_turn, ratio

SIDES = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import typer, rich'": ["-c", "import typer, rich"],
    "mersa --help": ["-m", "mersa", "--help"],
    "mersa train --help": ["-m", "mersa", "train", "--help"],
    "python -c 'import mersa'": ["-c", "import mersa"],
}


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", repeats=15)
    repeats = 1 if asked.quick else asked.repeats
    # Each side runs once untimed before, so that all find compiled modules and a warm disk.
    seconds = in_turn(
        {name: lambda words=words: _run(words) for name, words in SIDES.items()}, repeats=repeats
    )
    base = seconds["python -c 'import typer, rich'"]
    ratios = {name: ratio(taken, base) for name, taken in seconds.items()}
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    finish(
        "startup",
        [(name, f"{1000 * medians[name]:7.0f} ms {ratios[name]:7.2f} x") for name in seconds],
        sizes={"repeats": repeats},
        seconds=medians,
        ratios=ratios,
        threads=asked.threads,
    )


def _run(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
