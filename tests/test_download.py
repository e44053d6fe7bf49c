"""fetch against a server on this machine: right, missing, corrupted and interrupted files."""

import hashlib
import http.server
import threading

import pooch.core
import pytest

from geodl_course.datasets import download
from geodl_course.datasets.download import DownloadError, catalog, fetch

FILES = {"a/one.tif": b"one" * 5000, "two words.xml": b"two"}


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; `server.faults` says per path what goes wrong on the first tries."""

    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        fault = self.server.faults.get(self.path, [])
        fault = fault.pop(0) if fault else None
        self.send_response(404 if body is None else 200)
        body = body or b"<html>not found</html>"
        if fault == "corrupt":
            body = b"x" + body[1:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "drop" else body)
        self.close_connection = True

    def log_message(self, *args): ...


@pytest.fixture
def publisher(monkeypatch):
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("GEODL_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    server.files = {"/data/a/one.tif": FILES["a/one.tif"], "/data/two%20words.xml": FILES["two words.xml"]}
    server.faults, server.asked = {}, []
    toy = {
        "base": f"http://127.0.0.1:{server.server_port}/data/",
        "files": {path: hashlib.sha256(body).hexdigest() for path, body in FILES.items()},
    }
    monkeypatch.setattr(download, "catalog", lambda: {"toy": toy})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def held(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_arrive_and_verified_ones_are_not_fetched_again(publisher, tmp_path):
    assert held(fetch("toy", tmp_path, progress=False)) == FILES
    assert len(publisher.asked) == 2
    fetch("toy", tmp_path, progress=False)
    assert len(publisher.asked) == 2
    (tmp_path / "toy/a/one.tif").write_bytes(b"damaged on disk")
    assert held(fetch("toy", tmp_path, progress=False)) == FILES
    assert publisher.asked[2:] == ["/data/a/one.tif"]


@pytest.mark.parametrize("faults", [["drop"], ["corrupt"], ["drop", "corrupt", "drop"]])
def test_passing_trouble_is_tried_again(publisher, tmp_path, faults):
    publisher.faults["/data/a/one.tif"] = list(faults)
    assert held(fetch("toy", tmp_path, progress=False)) == FILES
    assert publisher.asked.count("/data/a/one.tif") == len(faults) + 1


def test_a_corrupted_file_is_not_kept(publisher, tmp_path):
    publisher.files["/data/two%20words.xml"] = b"somebody else's file"
    with pytest.raises(DownloadError, match="two words.xml.*does not have the sha256.*not kept.*again"):
        fetch("toy", tmp_path, progress=False)
    assert held(tmp_path / "toy") == {"a/one.tif": FILES["a/one.tif"]}  # what verified stays, nothing else


def test_a_page_that_says_not_found_is_not_taken_for_the_file(publisher, tmp_path):
    del publisher.files["/data/a/one.tif"]
    with pytest.raises(DownloadError, match="one.tif could not be fetched.*404.*Check the network"):
        fetch("toy", tmp_path, progress=False)
    assert held(tmp_path) == {}


def test_a_connection_that_keeps_dropping_is_told(publisher, tmp_path):
    publisher.faults["/data/a/one.tif"] = ["drop"] * 9
    with pytest.raises(DownloadError, match="one.tif could not be fetched"):
        fetch("toy", tmp_path, progress=False)
    assert held(tmp_path) == {}


def test_a_mirror_is_read_through_the_same_verification(publisher, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_MIRROR", str(tmp_path / "mirror"))
    for path, body in FILES.items():
        (tmp_path / "mirror/toy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror/toy" / path).write_bytes(body)
    assert held(fetch("toy", tmp_path / "root", progress=False)) == FILES
    assert publisher.asked == []
    (tmp_path / "mirror/toy/two words.xml").write_bytes(b"changed")
    with pytest.raises(DownloadError, match="does not have the sha256"):
        fetch("toy", tmp_path / "other", progress=False)
    assert held(tmp_path / "other") == {"toy/a/one.tif": FILES["a/one.tif"]}
    (tmp_path / "mirror/toy/two words.xml").unlink()
    with pytest.raises(DownloadError, match="two words.xml could not be written or copied.*GEODL_MIRROR"):
        fetch("toy", tmp_path / "third", progress=False)


def test_a_file_may_have_a_name_of_ours(publisher, tmp_path, monkeypatch):
    toy = download.catalog()["toy"] | {"names": {"one.tif": "a/one.tif", "two.xml": "two words.xml"}}
    toy["files"] = {name: toy["files"][theirs] for name, theirs in toy["names"].items()}
    monkeypatch.setattr(download, "catalog", lambda: {"toy": toy})
    ours = {"one.tif": FILES["a/one.tif"], "two.xml": FILES["two words.xml"]}
    assert held(fetch("toy", tmp_path / "root", progress=False)) == ours
    assert sorted(publisher.asked) == ["/data/a/one.tif", "/data/two%20words.xml"]
    for path, body in FILES.items():
        (tmp_path / "mirror/toy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror/toy" / path).write_bytes(body)
    monkeypatch.setenv("GEODL_MIRROR", str(tmp_path / "mirror"))
    assert held(fetch("toy", tmp_path / "other", progress=False)) == ours and len(publisher.asked) == 2


def test_a_mirror_without_the_set_leaves_it_to_the_publisher(publisher, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_MIRROR", str(tmp_path))
    assert held(fetch("toy", tmp_path / "root", progress=False)) == FILES
    assert len(publisher.asked) == 2


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DownloadError, match="no data set 'atlantis'.*neon_trees"):
        fetch("atlantis")


def test_the_catalogue_is_complete():
    for name, entry in catalog().items():
        assert entry["licence"] and entry["citation"] and entry["title"] and entry["about"]
        if "same_files" in entry:
            assert "files" in catalog()[entry["same_files"]] and "files" not in entry
            continue
        if "doi" in entry:
            assert entry["doi"].startswith("10.") and entry["doi"] in entry["citation"] and "files" not in entry
            continue
        assert entry["base"].startswith("https://") and entry["base"].endswith("/"), name
        assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in entry["files"].values())
        assert set(entry.get("urls", {})) | set(entry.get("names", {})) <= set(entry["files"])
        assert not any(p.startswith("/") or ".." in p for p in entry["files"])
        assert not any(set(p) & set('<>:"|?*\\') for p in entry["files"])  # Windows allows none of them
