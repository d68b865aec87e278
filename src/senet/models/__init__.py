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
from senet.models.network import Network
from senet.models.preprocessing import Preprocessing
from senet.models.registry import Architecture, create_model, entry, list_models

__all__ = ["Architecture", "Network", "Preprocessing", "create_model", "entry", "list_models"]
