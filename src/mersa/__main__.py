"""`python -m mersa`."""

from mersa.cli import main

main()
