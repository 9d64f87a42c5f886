"""Training of the pocket checkpoint, stage by stage: autoencoder, words, codes, transformer, planner, export."""
