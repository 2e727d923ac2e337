"""The Vision Transformer (arXiv 2010.11929) as Haiku modules. Start with `reference.py`.

Glossary of shapes. In the whole project a letter has this meaning; other sizes are words.

    B   batch: images that are processed at a time
    C   classes
    D   hidden size, the width of a token
    H   attention heads
    K   head size, D / H
    L   layers: encoder blocks
    M   width of the hidden layer of the MLP
    N   patches of an image, row by row
    P   patch size in pixels
    T   tokens of an image: class token (with pool "cls"), registers, patches, in this order

`reference.py` is the whole model in plain jax.numpy. The other modules compute the same faster:
`vit.py` (the model) -> `encoder.py` (L blocks) -> `block.py` (one block) -> `attention.py`.
"""
