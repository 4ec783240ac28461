"""Training data: images and latents, embedded, downloaded or in a folder."""
