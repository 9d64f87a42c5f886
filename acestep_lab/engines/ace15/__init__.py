"""DiT: what was planned becomes a latent. Pure loops and pure tensors; modules are handed in, never fetched.

schedule      when the loop looks: numbers only
guidance      how two velocities become one
sampler       the loop that yields Frames
flowedit      the loop that rewrites a source by the difference of two wishes
conditioning  words and timbre -> what the DiT listens to
context       task -> source latents and mask
semantic      latents <-> 5 Hz codes
"""

from acestep_lab._torchaudio import patch_torchaudio

patch_torchaudio()
