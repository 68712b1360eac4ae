"""Decoders of transformers, built from named presets."""
