"""ACE-Step v1-3.5B: a linear-attention DiT over 128-bin log-mel latents, with a lyric conformer and a vocoder behind it."""
