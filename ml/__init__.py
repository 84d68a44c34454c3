"""Features, training, registry and scoring of remaining useful life."""
