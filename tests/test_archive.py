"""fetch of a set with a DOI, through pooch, from a server on this machine that answers as doi.org and figshare do."""

import hashlib
import http.server
import io
import json
import threading
import zipfile
from urllib.parse import urlsplit

import pooch.core
import pytest
import requests

from geodl_course.datasets import download
from geodl_course.datasets.download import DownloadError, fetch

DOI, ARTICLE = "10.6084/m9.figshare.22318522", 22318522


def packed(**files):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/"), body)
    return memory.getvalue()


class Archive(http.server.BaseHTTPRequestHandler):
    """`server.files` {name: bytes}; `server.sent` replaces what is really sent; `server.answer` the API's answer."""

    def do_GET(self):
        host, _, path = self.path[1:].partition("/")
        self.server.asked.append(f"{host}/{path}")
        files = self.server.files
        if host == "doi.org":
            self.send_response(302)
            self.send_header("Location", f"https://figshare.com/articles/dataset/vfillDL/{ARTICLE}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if host == "api.figshare.com" and path.startswith("v2/articles?doi="):
            body = json.dumps([{"id": ARTICLE}] if path.endswith(DOI) else []).encode()
        elif host == "api.figshare.com":
            listed = [
                {"id": 7000 + i, "name": name, "size": len(body), "computed_md5": hashlib.md5(body).hexdigest(),
                 "download_url": f"https://ndownloader.figshare.com/files/{7000 + i}"}
                for i, (name, body) in enumerate(files.items())
            ]  # fmt: skip
            body = json.dumps(self.server.answer or {"files": listed}).encode()
        elif host == "ndownloader.figshare.com":
            name = list(files)[int(path.split("/")[-1]) - 7000]
            body = self.server.sent.get(name, files[name])
        else:
            body = b"<html>an article</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


class Loopback(requests.adapters.HTTPAdapter):
    """Every address is asked of the server on this machine, as /host/path; the answer bears the address asked for."""

    def __init__(self, port):
        super().__init__()
        self.port = port

    def send(self, request, **settings):
        asked = request.url
        parts = urlsplit(asked)
        query = f"?{parts.query}" if parts.query else ""
        request.url = f"http://127.0.0.1:{self.port}/{parts.netloc}{parts.path}{query}"
        response = super().send(request, **settings | {"proxies": {}})
        request.url = response.url = asked
        return response


@pytest.fixture
def figshare(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    server.files = {"vfillDL.zip": packed(vfillDL__dems__a_dem__tif=b"heights" * 900), "readme.txt": b"read me"}
    server.sent, server.asked, server.answer = {}, [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: Loopback(server.server_port))
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(download, "catalog", lambda: {"vfill": {"doi": DOI, "title": "", "licence": ""}})
    yield server
    server.shutdown()
    server.server_close()


def held(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_archive_says_which_files_it_has_and_zips_are_unpacked(figshare, tmp_path):
    folder = fetch("vfill", tmp_path, progress=False)
    assert held(folder) == {**figshare.files, "vfillDL/vfillDL/dems/a_dem/tif": b"heights" * 900}
    assert figshare.asked[:2] == [f"doi.org/{DOI}", f"figshare.com/articles/dataset/vfillDL/{ARTICLE}"]
    assert f"api.figshare.com/v2/articles/{ARTICLE}" in figshare.asked


def test_files_that_verify_are_not_fetched_again_and_changed_ones_are(figshare, tmp_path):
    fetch("vfill", tmp_path, progress=False)
    asked = len(figshare.asked)
    fetch("vfill", tmp_path, progress=False)
    assert not any("ndownloader" in path for path in figshare.asked[asked:])
    figshare.files["vfillDL.zip"] = packed(vfillDL__b=b"a later version")
    folder = fetch("vfill", tmp_path, progress=False)
    assert held(folder) == {**figshare.files, "vfillDL/vfillDL/b": b"a later version"}


def test_a_file_without_the_archives_md5_is_not_kept(figshare, tmp_path):
    figshare.sent["vfillDL.zip"] = b"something else"
    with pytest.raises(DownloadError, match=f"vfillDL.zip: .*does not have the md5 of https://doi.org/{DOI}.*not kept"):
        fetch("vfill", tmp_path, progress=False)
    assert held(tmp_path) == {}


@pytest.mark.parametrize("answer", [{"message": "no such article"}, {"files": [{"name": "a"}]}, [1]])
def test_an_archive_that_answers_otherwise_is_told(figshare, tmp_path, answer):
    figshare.answer = answer
    with pytest.raises(DownloadError, match=f"vfill: the archive of https://doi.org/{DOI} did not say.*by hand"):
        fetch("vfill", tmp_path, progress=False)


def test_names_that_lead_out_of_the_folder_and_broken_zips_are_refused(figshare, tmp_path):
    for files, message in (
        ({"../a.txt": b"out"}, "leads out of the folder"),
        ({"a.zip": packed(**{"..__b": b"out"})}, "leads out of the folder"),
        ({"a.zip": b"no zip"}, "a.zip is no zip archive"),
    ):
        figshare.files = files
        with pytest.raises(DownloadError, match=message):
            fetch("vfill", tmp_path / "data", progress=False)
    assert set(held(tmp_path)) == {"data/vfill/a.zip"}
