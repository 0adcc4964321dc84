"""Plain names for the ImageNet classes: what a person would call the thing at a glance.

The thousand classes are often finer than a wearer's words (118 breeds of dog). Runs of classes that
share a plain name are merged here; the device adds up the probabilities of classes with one name.
"""

from __future__ import annotations

import ast

from device.errors import InputError
from export.packages import Package

SOURCE = Package(
    "torchvision", "0.29.2", "0875f7a23bd298813240f716c56df44ce72ddb45146589442a38edd0e1f59637"
)
MEMBER = "torchvision/models/_meta.py"
RANGES = {
    (0, 1): "fish", (2, 4): "shark", (5, 6): "ray", (7, 8): "chicken", (9, 24): "bird",
    (25, 29): "salamander", (30, 32): "frog", (33, 37): "turtle", (38, 48): "lizard",
    (49, 50): "crocodile", (52, 68): "snake", (72, 77): "spider", (80, 96): "bird",
    (97, 98): "duck", (118, 121): "crab", (122, 124): "lobster", (127, 146): "bird",
    (147, 148): "whale", (151, 268): "dog", (269, 274): "wolf", (277, 280): "fox",
    (281, 285): "cat", (294, 297): "bear", (300, 307): "beetle", (319, 320): "dragonfly",
    (321, 326): "butterfly", (330, 332): "rabbit", (341, 342): "pig", (348, 350): "sheep",
    (351, 353): "antelope", (365, 368): "ape", (369, 382): "monkey", (385, 386): "elephant",
    (389, 397): "fish",
}  # fmt: skip
"""First and last class (both included) of each run."""
SINGLE = {
    402: "guitar", 546: "guitar", 404: "airplane", 409: "clock", 530: "clock", 892: "clock",
    412: "bin", 418: "pen", 563: "pen", 436: "car", 468: "taxi", 479: "wheel",
    487: "cell phone", 504: "cup", 968: "cup", 508: "keyboard", 878: "keyboard", 511: "car",
    527: "computer", 531: "watch", 532: "dining table", 545: "fan", 559: "chair", 765: "chair",
    423: "chair", 831: "couch", 564: "bed", 574: "ball", 852: "ball", 722: "ball", 768: "ball",
    805: "ball", 890: "ball", 429: "ball", 430: "ball", 522: "ball", 605: "music player",
    620: "laptop", 681: "laptop", 655: "skirt", 656: "car", 817: "car", 627: "car", 661: "car",
    664: "monitor", 782: "monitor", 665: "motorcycle", 670: "motorcycle", 671: "bicycle",
    444: "bicycle", 737: "bottle", 898: "bottle", 907: "bottle", 440: "bottle", 720: "bottle",
    732: "camera", 759: "camera", 738: "plant pot", 748: "bag", 728: "bag", 636: "bag",
    657: "rocket", 744: "rocket", 761: "remote control", 770: "shoe", 630: "shoe", 514: "boot",
    774: "sandal", 836: "sunglasses", 837: "sunglasses", 847: "tank", 850: "teddy bear",
    851: "television", 868: "tray", 879: "umbrella", 895: "airplane", 921: "book", 917: "book",
    948: "apple", 967: "coffee", 934: "hot dog", 933: "hamburger", 930: "bread", 970: "mountain",
    972: "cliff", 978: "beach", 980: "volcano", 981: "ball player", 985: "flower",
    986: "flower", 992: "mushroom", 997: "mushroom", 947: "mushroom", 999: "toilet paper",
}  # fmt: skip


def names() -> tuple[str, ...]:
    """A plain name for each of the thousand classes, in their order."""
    text = SOURCE.read(MEMBER).decode()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").endswith(
            "IMAGENET_CATEGORIES"
        ):
            plain = [str(name) for name in ast.literal_eval(node.value)]
            break
    else:
        raise InputError(f"{MEMBER}: has no list of ImageNet categories")
    for (first, last), name in RANGES.items():
        plain[first : last + 1] = [name] * (last + 1 - first)
    for index, name in SINGLE.items():
        plain[index] = name
    return tuple(plain)
