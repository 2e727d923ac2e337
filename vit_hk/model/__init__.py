"""The Vision Transformer as Haiku modules: patches, attention, encoder, vit."""
