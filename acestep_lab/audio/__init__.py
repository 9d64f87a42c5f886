"""VAE: latents to sound and back, and sound as a value."""
