"""Fetch a publisher's files as catalog.toml lists them: retried, verified before a file appears.

A set with `files` is verified by the sha256 of the catalogue. A set with a `doi` has its list of files and their md5
from the archive (figshare, Zenodo, ...) that the DOI leads to, asked through pooch each time. Zip archives are
unpacked beside them. A set that is cut from the files of another names it (`same_files`), and those are fetched.
"""

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
    $GEODL_MIRROR/name exists, files are copied from there through the same verification (not those of a `doi`, whose
    hashes are only in the archive). Raises DownloadError.
    """
    import pooch
    from tqdm import tqdm

    known = entry(name)
    if "same_files" in known:
        return fetch(known["same_files"], root, progress)
    folder = Path(root or data_root() / "raw") / name
    pooch.get_logger().setLevel("ERROR")
    if "doi" in known:
        return _fetch_archive(name, known["doi"], folder, progress)
    published = {path: path for path in known["files"]} | known.get("names", {})
    urls = {path: known["base"] + quote(theirs) for path, theirs in published.items()} | known.get("urls", {})
    store = pooch.create(folder, known["base"], registry=known["files"], urls=urls, retry_if_failed=3)
    for path in tqdm(known["files"], desc=f"files of {name}", unit="file", disable=not progress, delay=1):
        _fetch_whole(store, path, _downloader(known.get("mirror", name), published[path]))
    return folder


def _downloader(folder, published):
    import pooch

    mirror = Path(os.environ.get("GEODL_MIRROR", "")) / folder
    if os.environ.get("GEODL_MIRROR") and mirror.is_dir():
        return lambda url, output, store: shutil.copyfile(mirror / published, output)
    return pooch.HTTPDownloader()


def _fetch_archive(name, doi, folder, progress):
    """The folder with the files of a DOI, each verified by the archive's md5, and its zip archives unpacked."""
    import warnings

    import pooch
    import requests
    from tqdm import tqdm

    store = pooch.create(folder, f"doi:{doi}/", registry={}, retry_if_failed=3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a DOI without a version means the latest one
            store.load_registry_from_doi()
    except (requests.exceptions.RequestException, ValueError, LookupError, TypeError) as error:
        raise DownloadError(
            f"{name}: the archive of https://doi.org/{doi} did not say which files it has ({error!r}). Check the "
            f"network and try again, or download the files by hand into {folder} and import them from there."
        ) from error
    downloader = pooch.DOIDownloader(progressbar=progress)
    for path in tqdm(store.registry_files, desc=f"files of {name}", unit="file", disable=not progress, delay=1):
        _check_inside(path, doi)
        _fetch_whole(store, path, downloader, f"the md5 of https://doi.org/{doi}")
    return folder


def _fetch_whole(store, path, downloader, hashes="the sha256 of catalog.toml"):
    """Fetch a file and, if it is a zip archive, unpack it beside itself."""
    target = Path(store.path) / path
    before = target.stat().st_mtime_ns if target.is_file() else None
    _fetch_file(store, path, downloader, hashes)
    if path.lower().endswith(".zip"):
        _unpack(target, renewed=target.stat().st_mtime_ns != before)


def _check_inside(path, source):
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise DownloadError(f"{source}: the file name '{path}' leads out of the folder. Nothing of it was fetched.")


def _unpack(archive, renewed):
    """Unpack a zip into the folder of its name, whole or not at all; what an earlier version left is replaced."""
    import zipfile

    from geodl_course.chips.writing import whole_or_nothing

    folder = archive.with_suffix("")
    if renewed:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        return
    try:
        with zipfile.ZipFile(archive) as packed, whole_or_nothing(folder) as part:
            for name in packed.namelist():
                _check_inside(name, archive)
            packed.extractall(part)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{archive} is no zip archive ({error}). Delete it and run the command again.") from error


def _fetch_file(store, path, downloader, hashes):
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
            f"{target}: the file that came does not have {hashes} and was not kept. Run the command again; if it "
            "happens twice, the publisher's file has changed: report it."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{target} could not be written or copied ({error}). Check the free space, and that GEODL_MIRROR, if it "
            "is set, holds the publisher's files; then run the same command again."
        ) from error
