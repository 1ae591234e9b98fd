"""What the engine needs of a model, and the models that there are."""
