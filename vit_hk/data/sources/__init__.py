"""Where images come from; the only package that imports torch.

`load.py` decides, `torchvision_sets.py` says what is on offer, `download.py` and `checksums.py`
fetch and verify files, `raw_files.py` reads them, and `offline_sample.py` stands in without a
network. Images of one's own come from `own_npz.py`, or from `image_folder.py`, which reads the
files that `members.py` finds in a folder or an archive and sorts them by `folder_layout.py`.
`array_preparation.py` brings images to the size that params.yaml asks for.
"""
