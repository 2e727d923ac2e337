"""Pinned sizes and SHA-256 of the raw files, beside the MD5 that torchvision lists.

Those of the files as hosts send them are taken from the checksum lists of TensorFlow Datasets
(tensorflow_datasets/url_checksums). Those of the content, which stays the same when somebody
compresses it again, were computed from files with these checksums.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Pin:
    """The size in bytes and the SHA-256 that a file must have.

    Attributes:
      size: size of the file.
      sha256: SHA-256 of the file.
      content: the same of what it holds, for a .gz file whose content is known.
    """

    size: int
    sha256: str
    content: "Pin | None" = None


PINS: dict[str, dict[str, Pin]] = {
    "mnist": {
        "train-images-idx3-ubyte.gz": Pin(
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            Pin(47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ),
        "train-labels-idx1-ubyte.gz": Pin(
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            Pin(60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ),
        "t10k-images-idx3-ubyte.gz": Pin(
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            Pin(7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ),
        "t10k-labels-idx1-ubyte.gz": Pin(
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            Pin(10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": Pin(
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            Pin(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ),
        "train-labels-idx1-ubyte.gz": Pin(
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            Pin(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        ),
        "t10k-images-idx3-ubyte.gz": Pin(
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            Pin(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ),
        "t10k-labels-idx1-ubyte.gz": Pin(
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            Pin(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    },
    "kmnist": {
        "train-images-idx3-ubyte.gz": Pin(
            18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"
        ),
        "train-labels-idx1-ubyte.gz": Pin(
            29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"
        ),
        "t10k-images-idx3-ubyte.gz": Pin(
            3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"
        ),
        "t10k-labels-idx1-ubyte.gz": Pin(
            5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"
        ),
    },
    "cifar10": {
        "cifar-10-binary.tar.gz": Pin(
            170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        ),
    },
}
