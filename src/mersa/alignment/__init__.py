"""Self-alignment: one emotion drawn together in the space of an encoder, before fusion."""
