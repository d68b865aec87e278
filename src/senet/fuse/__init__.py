"""Networks made fast and changed in nothing: a TorchDynamo backend of tails on the passes."""
