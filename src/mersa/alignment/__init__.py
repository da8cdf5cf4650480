"""Self-alignment: a space of embeddings in which emotions lie apart, and how good it is."""
