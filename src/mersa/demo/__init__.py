"""The web page: one recording in, its answer with times out."""
