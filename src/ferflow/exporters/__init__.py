"""Export formats, one file each: a network becomes files that run without the code that trained it.

An entry is a function ``export(network, card, folder) -> Path`` that takes an ``EnsembleNetwork`` and
writes a file with the card inside, taking uint8 faces (N x S x S x 3) with any N.
"""
