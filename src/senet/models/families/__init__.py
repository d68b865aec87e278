"""The networks of the paper's tables, one family per file, with the pieces that families share.

Importing a family's file registers its networks, and importing this package imports all families.
"""

from senet.models.families import (
    bn_inception,
    densenet,
    efficientnet,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v3,
    regnet,
    resnet,
    shake_shake,
    shufflenet,
    vgg,
)

__all__ = [
    "bn_inception",
    "densenet",
    "efficientnet",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v3",
    "regnet",
    "resnet",
    "shake_shake",
    "shufflenet",
    "vgg",
]
