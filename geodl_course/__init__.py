"""Parts, data and tools behind the lectures on deep learning for geospatial imagery."""

__version__ = "0.1.0"
