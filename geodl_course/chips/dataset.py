"""Decoded chips of a split in memory, and stored as .npz for machines without rasterio."""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from geodl_course.chips.reading import image_files, read_info, read_split
from geodl_course.chips.record import ChipError, boxes_from_instances, info_from_dict, info_to_dict, valid_pixels


class ChipDataset(torch.utils.data.Dataset):
    """Decoded chips of one split: item i is (image (C, H, W) float32, target dict boxes (M, 4), labels (M,), [masks]).

    Where the split has a covers.json, the target also holds `cover`, what it says of the whole chip, as a dict.
    All chips are decoded once and kept as they are on disk (`images` (N, C, H, W), uint8, uint16 or float32), so an
    epoch never waits for decoding. With `normalise`, bands are (x - mean) / std of dataset.json, and nodata is 0; else
    images are the stored values. `masks=True` adds masks (M, H, W) bool. `limit` takes that many chips, spread evenly
    over the split. Raises ChipError for a folder that breaks the rules. Lecture 01 builds it.
    """

    def __init__(self, folder, split, masks=False, normalise=True, limit=None):
        info = read_info(folder)
        stems = _spread(list(image_files(folder, split)), limit)
        size = (len(info.bands), info.chip_size, info.chip_size)
        arrays = {"stems": np.array(stems, dtype=str), "images": np.empty((len(stems), *size), info.dtype)}
        objects, rasters, keys, covers = [], [], [], []
        for i, chip in enumerate(read_split(folder, split, stems)):
            arrays["images"][i] = chip.image
            objects.append((chip.boxes, chip.labels))
            covers.append(chip.cover)
            if masks and chip.instances is None:
                raise ChipError(f"{folder}: this data set has boxes only, no masks. Leave out masks=True.")
            for k, name in enumerate(info.classes if masks else (), start=1):
                if name in chip.instances:
                    rasters.append(chip.instances[name].astype(np.uint16))
                    keys.append((i, k))
        arrays["counts"] = np.array([len(labels) for _, labels in objects], np.int64)
        arrays["boxes"] = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in objects)])
        arrays["labels"] = np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in objects)])
        if covers and covers[0] is not None:
            arrays["covers"] = np.array([json.dumps(cover) for cover in covers])
        if masks:
            arrays["rasters"] = np.array(rasters, np.uint16).reshape(-1, *size[1:])
            arrays["raster_keys"] = np.array(keys, np.int64).reshape(-1, 2)
        self._set(info, split, arrays, masks, normalise)

    def _set(self, info, split, arrays, masks, normalise):
        self.info, self.split, self.arrays, self.masks, self.normalise = info, split, arrays, masks, normalise
        self.classes, self.stems, self.images = info.classes, arrays["stems"].tolist(), arrays["images"]
        self._ends = np.cumsum(arrays["counts"])

    def _with(self, arrays, **info):
        """The same data set with other arrays, and with these fields of `info` changed."""
        other = copy(self)
        other._set(replace(self.info, **info), self.split, arrays, self.masks, self.normalise)
        return other

    def __len__(self):
        return len(self.stems)

    def __getitem__(self, i):
        i = range(len(self))[i]
        rows = slice(self._ends[i] - self.arrays["counts"][i], self._ends[i])
        target = {
            "boxes": torch.from_numpy(self.arrays["boxes"][rows].copy()),
            "labels": torch.from_numpy(self.arrays["labels"][rows].copy()),
        }
        if "covers" in self.arrays:
            target["cover"] = json.loads(self.arrays["covers"][i])
        if self.masks:
            target["masks"] = torch.from_numpy(self._masks(i))
        return torch.from_numpy(self._image(i)), target

    def _image(self, i):
        image = self.images[i].astype(np.float32)
        if not self.normalise:
            return image
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.info.mean, self.info.std))
        scaled = (image - mean) / std
        if self.info.nodata is not None:
            scaled = np.where(valid_pixels(self.images[i], self.info.nodata), scaled, np.float32(0))
        return scaled

    def _masks(self, i):
        low, high = np.searchsorted(self.arrays["raster_keys"][:, 0], [i, i + 1])
        masks = [r == boxes_from_instances(r)[0][:, None, None] for r in self.arrays["rasters"][low:high]]
        return np.concatenate([np.zeros((0, *self.images.shape[-2:]), bool), *masks])

    def save(self, path):
        """Write the decoded chips as .npz; `load` needs numpy and torch only."""
        return save_npz(path, self)

    @classmethod
    def load(cls, path, split=None, masks=False, normalise=True, limit=None):
        """Chips of one split from an .npz of `save` or `save_npz`; `split` may be left out where there is only one."""
        with np.load(path, allow_pickle=False) as stored:
            splits = sorted({key.split("/")[0] for key in stored.files if "/" in key})
            if split is None and len(splits) == 1:
                split = splits[0]
            if split not in splits:
                raise ChipError(f"{path} holds the splits {', '.join(splits) or 'none'}, not '{split}'. Choose one.")
            info = info_from_dict(json.loads(str(stored["info"])), path)
            arrays = {key.split("/")[1]: stored[key] for key in stored.files if key.startswith(f"{split}/")}
        if masks and "rasters" not in arrays:
            raise ChipError(f"{path} was saved without masks. Save it again from ChipDataset(..., masks=True).")
        dataset = cls.__new__(cls)
        dataset._set(info, split, arrays, masks, normalise)
        return dataset if limit is None else dataset.take(_spread(range(len(dataset)), limit))

    def pick_bands(self, names):
        """The same data set with the bands called names only, in that order; raises ChipError for one it lacks."""
        _check_names("band", names, self.info.bands)
        chosen = [self.info.bands.index(name) for name in names]
        of_bands = {key: [getattr(self.info, key)[band] for band in chosen] for key in ("bands", "mean", "std")}
        return self._with({**self.arrays, "images": self.images[:, chosen]}, **of_bands)

    def pick_classes(self, names):
        """The same data set with the classes called names only, numbered from 1 in that order; all else is background.

        Chips without any of them stay, as chips without objects. Raises ChipError for a class that it lacks.
        """
        _check_names("class", names, self.classes)
        number = np.zeros(len(self.classes) + 1, np.int64)  # of each old label the new one, 0 for those left out
        for k, name in enumerate(names, start=1):
            number[self.classes.index(name) + 1] = k
        arrays, kept = dict(self.arrays), number[self.arrays["labels"]] > 0
        chips = np.repeat(np.arange(len(self)), arrays["counts"])
        arrays["counts"] = np.bincount(chips[kept], minlength=len(self)).astype(np.int64)
        arrays |= {"boxes": arrays["boxes"][kept], "labels": number[arrays["labels"][kept]]}
        if "rasters" in arrays:
            keys, chosen = arrays["raster_keys"], number[arrays["raster_keys"][:, 1]] > 0
            arrays["rasters"] = arrays["rasters"][chosen]
            arrays["raster_keys"] = np.stack((keys[chosen, 0], number[keys[chosen, 1]]), axis=1)
        counts = {split: {name: found[name] for name in ("chips", *names) if name in found}
                  for split, found in self.info.counts.items()}
        return self._with(arrays, classes=list(names), counts=counts)

    def take(self, indices):
        """The same data set with the chips `indices` only, in their order."""
        indices = np.asarray(indices, dtype=np.int64)
        counts, ends = self.arrays["counts"], self._ends
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(ends[i] - counts[i], ends[i]) for i in indices)])
        per_chip = [key for key in ("stems", "images", "counts", "covers") if key in self.arrays]
        arrays = {key: self.arrays[key][indices] for key in per_chip}
        arrays |= {key: self.arrays[key][rows] for key in ("boxes", "labels")}
        if "rasters" in self.arrays:
            keys = self.arrays["raster_keys"]
            chosen = [(n, r) for n, i in enumerate(indices) for r in np.flatnonzero(keys[:, 0] == i)]
            arrays["rasters"] = self.arrays["rasters"][[r for _, r in chosen]]
            arrays["raster_keys"] = np.array([(n, keys[r, 1]) for n, r in chosen], np.int64).reshape(-1, 2)
        return self._with(arrays)


def all_images(dataset):
    """All images of a ChipDataset (N, C, H, W) float32 in one tensor, scaled as its items are."""
    return torch.stack([image for image, _ in dataset])


def _check_names(kind, names, known):
    """Raise ChipError where a name is none of those known, or where there is no name."""
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise ChipError(f"no {kind} is called {', '.join(missing) or '(none named)'}: choose among {', '.join(known)}")


def _spread(items, limit):
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def save_npz(path, *datasets):
    """Write the decoded chips of several splits of one data set into one .npz, atomically, and return its path."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    arrays = {f"{d.split}/{key}": value for d in datasets for key, value in d.arrays.items()}
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, info=json.dumps(info_to_dict(datasets[0].info)), **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
