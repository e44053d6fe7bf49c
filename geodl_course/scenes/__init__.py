"""A raster in, a map layer out: any of the course's models over a scene of any size. Lecture 10 builds it."""

from geodl_course.scenes.merging import cores, keep_core, merge_parts, suppress
from geodl_course.scenes.run import map_scene

__all__ = ["cores", "keep_core", "map_scene", "merge_parts", "suppress"]
