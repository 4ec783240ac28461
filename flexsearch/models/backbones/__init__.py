"""Adapters of diffusers' transformers: one file per architecture."""
