"""Small models as people write them, for `scripts/try_models.py`: libraries of layers, and idioms around the layers."""
