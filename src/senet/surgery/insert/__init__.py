"""The insertion of SE into a network: where (``places``), and how it starts (``insert``)."""
