"""SE put into a network: where (``places``), and how it starts (``insert``)."""
