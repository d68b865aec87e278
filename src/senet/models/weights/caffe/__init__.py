"""The files that the authors of the paper published, which are Caffe's."""
