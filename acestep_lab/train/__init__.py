"""Making weights: a synthetic world of music, the pocket checkpoint trained on it, data sets, LoRA."""
