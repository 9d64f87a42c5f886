"""Training of the pocket checkpoint, stage by stage: autoencoder, tokenizer, codes, transformer, planner, export."""
