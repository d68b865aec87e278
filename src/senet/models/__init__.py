"""Networks of the paper's tables, by name, with their weights."""

from senet.models import families as _families  # noqa: F401  it registers all networks
from senet.models.architecture import Architecture
from senet.models.create import create_model
from senet.models.network import Network
from senet.models.registry import entry, list_models
from senet.models.weights.find import find_weights
from senet.models.weights.hub import push_to_hub, save_pretrained
from senet.models.weights.pretrained import from_pretrained
from senet.models.weights.published import list_weights
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
