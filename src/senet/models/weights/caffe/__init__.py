"""The Caffe files that the authors of the paper published."""
