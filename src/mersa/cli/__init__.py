"""The verbs of the command line; each calls one function that Python can call too.

Only what the help needs is imported at the top of these modules: `mersa --help` starts without
torch.
"""

from mersa.cli.app import app, main

__all__ = ["app", "main"]
