"""What leaks between the parts of a corpus, and what is wrong with its recordings."""
