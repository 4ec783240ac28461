"""What models are trained on: images and latents, embedded, downloaded or in a folder."""
