"""Networks of the paper's tables, by name. Importing a family's file registers its networks."""

from senet.models import bn_inception as _bn_inception  # noqa: F401
from senet.models import densenet as _densenet  # noqa: F401
from senet.models import efficientnet as _efficientnet  # noqa: F401
from senet.models import inception_resnet_v2 as _inception_resnet_v2  # noqa: F401
from senet.models import inception_v3 as _inception_v3  # noqa: F401
from senet.models import mobilenet as _mobilenet  # noqa: F401
from senet.models import mobilenet_v3 as _mobilenet_v3  # noqa: F401
from senet.models import regnet as _regnet  # noqa: F401
from senet.models import resnet as _resnet  # noqa: F401
from senet.models import shake_shake as _shake_shake  # noqa: F401
from senet.models import shufflenet as _shufflenet  # noqa: F401
from senet.models import vgg as _vgg  # noqa: F401
from senet.models.hub import push_to_hub, save_pretrained
from senet.models.network import Network
from senet.models.pretrained import from_pretrained
from senet.models.published import list_weights
from senet.models.registry import Architecture, create_model, entry, list_models
from senet.models.resolve import find_weights
from senet.preprocessing import Preprocessing

__all__ = [
    "Architecture",
    "Network",
    "Preprocessing",
    "create_model",
    "entry",
    "find_weights",
    "from_pretrained",
    "list_models",
    "list_weights",
    "push_to_hub",
    "save_pretrained",
]
