"""A trained network at work: images in, classes and probabilities out."""

from senet.serving.find import Found, find_images, find_model
from senet.serving.predict import Prediction, Predictor

__all__ = ["Found", "Prediction", "Predictor", "find_images", "find_model"]
