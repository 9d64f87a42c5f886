"""Making weights: synthetic music, the pocket checkpoint and the classifiers trained on it, data sets, LoRA."""
