"""Fetch a publisher's files as catalog.toml lists them: retried, verified by sha256 before a file appears."""

import os
import shutil
import tomllib
from pathlib import Path
from urllib.parse import quote

from geodl_course.datasets import data_root


class DownloadError(RuntimeError):
    """A file could not be had or is not the one that the catalogue knows; the message names it and the next step."""


def catalog():
    """{name: entry} of catalog.toml."""
    return tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))


def entry(name):
    """The catalogue entry of one data set. Raises DownloadError for a name that it does not know."""
    known = catalog()
    if name not in known:
        raise DownloadError(f"no data set '{name}' in the catalogue. Choose one of {', '.join(sorted(known))}.")
    return known[name]


def fetch(name, root=None, progress=True):
    """Folder root/name with the verified files of a data set; root is data_root()/raw unless given.

    Files that are there and verify are not fetched again, so an interrupted fetch continues where it stopped. Where
    $GEODL_MIRROR/name exists, files are copied from there through the same verification. Raises DownloadError.
    """
    import pooch
    from tqdm import tqdm

    known = entry(name)
    folder = Path(root or data_root() / "raw") / name
    published = {path: path for path in known["files"]} | known.get("names", {})
    urls = {path: known["base"] + quote(theirs) for path, theirs in published.items()} | known.get("urls", {})
    store = pooch.create(folder, known["base"], registry=known["files"], urls=urls, retry_if_failed=3)
    pooch.get_logger().setLevel("ERROR")
    for path in tqdm(known["files"], desc=f"files of {name}", unit="file", disable=not progress, delay=1):
        _fetch_file(store, path, _downloader(known.get("mirror", name), published[path]))
    return folder


def _downloader(folder, published):
    import pooch

    mirror = Path(os.environ.get("GEODL_MIRROR", "")) / folder
    if os.environ.get("GEODL_MIRROR") and mirror.is_dir():
        return lambda url, output, store: shutil.copyfile(mirror / published, output)
    return pooch.HTTPDownloader()


def _fetch_file(store, path, downloader):
    import requests

    target = Path(store.path) / path
    try:
        store.fetch(path, downloader=downloader)
    except requests.exceptions.RequestException as error:  # before OSError, of which it is one
        raise DownloadError(
            f"{target.name} could not be fetched from {store.get_url(path)} ({error}). Check the network and run the "
            "same command again: files that are verified are not fetched twice."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"{target}: the file that came does not have the sha256 of catalog.toml and was not kept. Run the command "
            "again; if it happens twice, the publisher's file has changed: report it."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{target} could not be written or copied ({error}). Check the free space, and that GEODL_MIRROR, if it "
            "is set, holds the publisher's files; then run the same command again."
        ) from error
