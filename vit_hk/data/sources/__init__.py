"""Where images come from; the only room that imports torch.

`load.py` decides, `torchvision_sets.py` says what is on offer, `download.py` and `checksums.py`
fetch and verify files, `raw_files.py` reads them, and `offline_sample.py` stands in without a
network.
"""
