"""ACE-Step v1: a linear-attention DiT over the latents of a music DCAE, behind the engine contract."""
