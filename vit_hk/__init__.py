"""A Vision Transformer laboratory in dm-haiku, after "An Image is Worth 16x16 Words"."""
