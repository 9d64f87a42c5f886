"""Weights arrive whole or not at all, from hubs that drop, cut, lie and disappear. A server on this machine plays them."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from acestep_lab.cli import main
from acestep_lab.errors import CheckpointError, DownloadError, MachineError
from acestep_lab.models.catalog import MAIN_REPO
from acestep_lab.models.download import (
    LOCK,
    HuggingFace,
    Listing,
    ModelScope,
    RemoteFile,
    Store,
    Wanted,
    fetch,
    flaws,
    known_hubs,
    wanted,
)
from acestep_lab.models.loading import Checkpoint

REPO = "somebody/tiny-checkpoint"
WEIGHTS = bytes(range(256)) * 2000  # 512 kB
FILES = {
    "transformer/config.json": b'{"is_turbo": true}',
    "transformer/model.safetensors": WEIGHTS,
    "vae/config.json": b"{}",
    "README.md": b"not fetched",
    "modeling.py": b"never fetched",
}
REVISION = "0123456789abcdef0123456789abcdef01234567"


def git_blob(data):
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """Both hubs' protocols over one dictionary of files, and the ways in which they fail."""

    daemon_threads = True

    def __init__(self, files=FILES, **faults):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.faults, self.revision = dict(files), faults, REVISION
        self.asked: list[tuple[str, str | None]] = []  # (path, Range)
        self.authorizations: list[str | None] = []
        self.drops_left = faults.get("drops", 0)

    def stop(self):
        self.shutdown()
        self.server_close()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fetched(self):
        return [path for path, _ in self.asked]


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args):
        pass

    def do_GET(self):
        address = urlsplit(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        if "status" in self.server.faults:
            return self.send_error(self.server.faults["status"])
        if address.path.startswith("/api/models/"):
            return self.say(self.hugging_face_listing())
        if address.path.endswith("/repo/files"):
            return self.say(self.modelscope_listing())
        if address.path.endswith("/repo"):
            return self.serve(parse_qs(address.query)["FilePath"][0])
        return self.serve(unquote(address.path.split("/resolve/")[1].split("/", 1)[1]))

    def say(self, value):
        body = b"<html>please log in</html>" if self.server.faults.get("page") else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hugging_face_listing(self):
        siblings = []
        for path, data in self.server.files.items():
            entry = {"rfilename": path, "size": len(data), "blobId": git_blob(data)}
            if path.endswith(".safetensors"):
                entry["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            siblings.append(entry)
        return {"sha": self.server.revision, "siblings": siblings}

    def modelscope_listing(self):
        rows = [{"Path": "vae", "Type": "tree", "Size": 0}]
        for path, data in self.server.files.items():
            rows.append({"Path": path, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()})
        return {"Code": 200, "Data": {"Files": rows}}

    def serve(self, path):
        faults, wish = self.server.faults, self.headers.get("Range")
        self.server.asked.append((path, wish))
        data = self.server.files[path]
        if path.endswith(".safetensors"):
            data = faults.get("instead", data)[: faults.get("cut", len(data))]
        start = int(wish.removeprefix("bytes=").split("-")[0]) if wish and not faults.get("no_ranges") else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.server.drops_left and path.endswith(".safetensors"):
            self.server.drops_left -= 1
            self.wfile.write(data[start : start + faults.get("after", 100_000)])
            self.wfile.flush()
            self.connection.close()
            return None
        self.wfile.write(data[start:])
        return None


@pytest.fixture
def hub():
    """Starts hubs with faults, and stops them."""
    running = []

    def start(files=FILES, **faults):
        server = Hub(files, **faults)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def bring(tmp_path):
    """`fetch` into a cache of its own, from hubs on this machine, without pauses."""

    def run(*servers, name=REPO, scope=None, **more):
        hubs = [HuggingFace(server.endpoint) for server in servers]
        hubs += [ModelScope(scope.endpoint)] if scope else []
        more.setdefault("store", Store(tmp_path / "cache"))
        return fetch(name, hubs=hubs, offline=more.pop("offline", False), pause=0, **more)

    return run


def arrived(fetched, repo=REPO):
    """What lies in a repo's folder, by path."""
    place = fetched.places[repo]
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


EXPECTED = {path: data for path, data in FILES.items() if path.endswith((".json", ".safetensors"))}


def test_a_repo_arrives_whole_without_its_code(hub, bring):
    fetched = bring(hub())
    assert arrived(fetched) == EXPECTED
    assert fetched.revisions == {REPO: REVISION}


def test_the_hubs_own_library_finds_what_was_fetched(hub, bring, tmp_path):
    from huggingface_hub import snapshot_download

    fetched = bring(hub())
    assert Path(snapshot_download(REPO, local_files_only=True, cache_dir=tmp_path / "cache")) == fetched.places[REPO]


def test_every_piece_is_reported_and_every_file_said(hub, bring):
    heard, said = [], []
    bring(hub(), report=heard.append, say=said.append)
    last = [progress for progress in heard if progress.path.endswith(".safetensors")][-1]
    assert (last.done, last.total, last.of) == (len(WEIGHTS), len(WEIGHTS), 3)
    assert "MB of" in str(last)
    assert len(said) == 3


def test_what_is_here_already_is_not_fetched_again(hub, bring):
    server = hub()
    bring(server)
    before = list(server.asked)
    assert "nothing was missing" in str(bring(server))
    assert server.asked == before


def test_a_dropped_connection_goes_on_where_it_stopped(hub, bring):
    server = hub(drops=3, after=100_000)
    assert arrived(bring(server)) == EXPECTED
    ranges = [wish for path, wish in server.asked if path.endswith(".safetensors")]
    assert ranges[0] is None
    assert len(ranges) == 4
    starts = [int(wish[6:-1]) for wish in ranges[1:]]
    assert starts == sorted(starts)
    assert starts[-1] > 0


def test_a_download_broken_off_goes_on_in_the_next_call(hub, bring):
    server = hub(cut=300_000)
    with pytest.raises(DownloadError, match="go on from there"):
        bring(server)
    server.faults.clear()
    server.asked.clear()
    assert arrived(bring(server)) == EXPECTED
    assert server.asked[0] == ("transformer/model.safetensors", "bytes=300000-")


def test_a_server_that_knows_no_ranges_starts_again_and_the_file_is_still_right(hub, bring):
    assert arrived(bring(hub(drops=1, no_ranges=True))) == EXPECTED


def test_a_truncated_file_is_taken_from_the_mirror(hub, bring):
    said = []
    fetched = bring(hub(cut=200_000), scope=hub(), say=said.append)
    assert arrived(fetched) == EXPECTED
    assert any("trying 127.0.0.1" in sentence for sentence in said)


def test_a_file_truncated_everywhere_is_refused_with_how_much_is_there(hub, bring):
    with pytest.raises(DownloadError, match=r"stopped after 200,000 of 512,000 bytes|answers with status 416"):
        bring(hub(cut=200_000))


def test_a_file_with_a_wrong_checksum_is_never_kept(hub, bring, tmp_path):
    wrong = hub(instead=b"x" * len(WEIGHTS))
    with pytest.raises(
        DownloadError, match=r"sent another file: its checksum is [0-9a-f]{12}… instead of .* Nothing of it is kept"
    ):
        bring(wrong)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_wrong_file_is_taken_from_the_mirror(hub, bring):
    assert arrived(bring(hub(instead=b"x" * len(WEIGHTS)), scope=hub())) == EXPECTED


def test_a_hub_that_is_down_is_passed_over_for_the_mirror(hub, bring):
    fetched = bring(hub(status=503), scope=hub())
    assert arrived(fetched) == EXPECTED
    assert len(fetched.revisions[REPO]) == 40


def test_without_any_network_a_sentence_says_who_was_asked_and_what_helps(hub, bring):
    server = hub()
    server.stop()
    with pytest.raises(DownloadError, match=r"cannot be reached .* set HF_ENDPOINT to a mirror.*still opens"):
        bring(server, scope=server)


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"status": 404}, "does not know it. Check its spelling"),
        ({"status": 401}, "does not let us in. Log in with `hf auth login`"),
        ({"page": True}, "sent a page that is no listing"),
    ],
)
def test_a_hub_that_refuses_is_quoted_with_what_to_do(hub, bring, faults, sentence):
    with pytest.raises(DownloadError) as refusal:
        bring(hub(**faults))
    assert sentence in str(refusal.value)


def test_too_little_disk_is_said_before_a_byte_is_fetched(hub, bring):
    server = hub()
    with pytest.raises(MachineError, match=r"needs .* more on disk, and .* has 1 MB free\. Make room"):
        bring(server, free_bytes=lambda path: 2**20)
    assert server.asked == []


def test_a_full_disk_is_a_sentence(hub, bring, tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    store = Store(tmp_path / "cache")
    file = RemoteFile("transformer/model.safetensors", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    partial = store.partial(REPO, file)
    partial.parent.mkdir(parents=True)
    partial.symlink_to(full)
    with pytest.raises(MachineError, match="The disk is full"):
        bring(hub(), store=store)


def test_offline_mode_asks_nobody_and_says_so(hub, bring):
    server = hub()
    with pytest.raises(DownloadError, match="offline mode is on"):
        bring(server, offline=True)
    assert server.authorizations == []


def test_offline_mode_is_content_with_what_is_here(hub, bring):
    server = hub()
    bring(server)
    assert arrived(bring(server, offline=True)) == EXPECTED


def test_offline_mode_names_the_file_that_is_cut_short(hub, bring):
    server = hub()
    (bring(server).places[REPO] / "transformer/model.safetensors").write_bytes(b"short")
    with pytest.raises(DownloadError, match=r"model.safetensors of .* is missing or cut short"):
        bring(server, offline=True)


def test_the_first_revision_stays_until_an_update_is_asked_for(hub, bring):
    server = hub()
    bring(server)
    server.revision = "f" * 40
    server.files["vae/config.json"] = b'{"new": 1}'
    assert bring(server).revisions == {REPO: REVISION}
    updated = bring(server, update=True)
    assert updated.revisions == {REPO: "f" * 40}
    assert arrived(updated)["vae/config.json"] == b'{"new": 1}'


def test_a_token_goes_to_the_hub_it_belongs_to(hub, tmp_path):
    server = hub()
    fetch(REPO, hubs=[HuggingFace(server.endpoint, "secret")], offline=False, pause=0, store=Store(tmp_path))
    assert set(server.authorizations) == {"Bearer secret"}
    assert "secret" not in repr(HuggingFace(server.endpoint, "secret"))


def test_a_listing_that_points_outside_its_folder_is_refused(hub, bring, tmp_path):
    with pytest.raises(DownloadError, match="would land outside its folder"):
        bring(hub({"../../evil.json": b"{}"}))
    assert not list(tmp_path.rglob("evil.json"))


def test_a_catalog_row_brings_its_folder_what_all_share_and_its_planner(hub, bring, tmp_path):
    files = {
        "acestep-v15-turbo/config.json": b"{}",
        "acestep-v15-turbo/silence_latent.pt": b"zeros",
        "vae/config.json": b"{}",
        "Qwen3-Embedding-0.6B/config.json": b"{}",
        "acestep-5Hz-lm-1.7B/config.json": b"{}",
    }
    place = tmp_path / "checkpoints"
    server = hub(files)
    bring(server, name="turbo", folder=place, store=None)
    assert not (place / "acestep-5Hz-lm-1.7B").exists()
    fetched = bring(server, name="turbo", lm="1.7B", folder=place, store=None)
    assert {path for path in files if (place / path).is_file()} == set(files)
    assert fetched.places == {MAIN_REPO: place}


@pytest.mark.parametrize("layout", ["tiny_turbo", "tiny_original_turbo"])
def test_what_was_fetched_opens_and_builds(hub, bring, request, layout):
    here = request.getfixturevalue(layout)
    files = {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    checkpoint = Checkpoint.open(bring(hub(files)).places[REPO])
    assert checkpoint.layout in ("diffusers", "original")
    assert sum(parameter.numel() for parameter in checkpoint.build("dit").parameters()) > 0
    checkpoint.tokenizer()


def test_rows_say_what_they_want():
    assert wanted("pocket") == ()
    assert wanted("turbo", "1.7B") == (
        Wanted(MAIN_REPO, ("Qwen3-Embedding-0.6B", "acestep-5Hz-lm-1.7B", "acestep-v15-turbo", "vae")),
    )
    assert [want.repo for want in wanted("xl-base", "4B")] == [
        "ACE-Step/acestep-v15-xl-base",
        MAIN_REPO,
        "ACE-Step/acestep-5Hz-lm-4B",
    ]


def test_the_pocket_checkpoint_needs_no_download():
    assert "ships with this package" in str(fetch("pocket", offline=True))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(CheckpointError, match="did you mean turbo"):
        fetch("turbbo", offline=True)
    with pytest.raises(CheckpointError, match=r"No planner is called '1.8B'; did you mean 1.7B"):
        fetch("turbo", lm="1.8B", offline=True)


def test_files_changed_on_disk_are_found(hub, bring, tmp_path):
    store = Store(tmp_path / "cache")
    place = bring(hub()).places[REPO]
    assert flaws(REPO, store, deep=True) == []
    weights = place / "transformer/model.safetensors"
    weights.write_bytes(b"x" * len(WEIGHTS))
    assert flaws(REPO, store) == []
    assert "has changed since" in flaws(REPO, store, deep=True)[0]
    weights.write_bytes(b"x")
    assert "has 1 of 512,000 bytes" in flaws(REPO, store)[0]
    weights.unlink()
    assert "is missing" in flaws(REPO, store)[0]
    assert flaws("nobody/knows", store) == []


def test_this_machines_hubs_are_the_two_known_ones():
    assert [type(hub) for hub in known_hubs()] == [HuggingFace, ModelScope]


def test_the_command_line_fetches_goes_on_and_says_what_is_here(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACESTEP_DOWNLOAD_SOURCE", "modelscope")
    server = hub(FILES | {"transformer/model.safetensors": bytes(12 * 2**20)}, drops=1, after=5 * 2**20)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.endpoint)
    asked = ["download", REPO, "--folder", str(tmp_path)]
    assert main([*asked, "--offline"]) == 2
    assert "offline mode is on" in capsys.readouterr().err
    assert main([*asked, "--no-offline"]) == 0
    out, err = capsys.readouterr()
    assert f"{REPO} is here whole, 3 files" in out
    assert "transformer/model.safetensors: 12 MB of 12 MB" in err
    assert main([*asked, "--offline"]) == 0
    assert "nothing was missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "[" * 60_000, '{"o/r": 3}', '{"o/r": {"revision": 5, "fetched": [], "files": []}}', "\ud800", None],
    ids=["empty", "cut", "list", "deep", "number", "revision", "coding", "folder"],
)
def test_a_damaged_list_of_what_was_fetched_counts_as_none_and_is_written_anew(tmp_path, damage):
    store = Store(tmp_path)
    path = store.home("o/r") / LOCK
    path.parent.mkdir(parents=True)
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage.encode("utf-16-le", "surrogatepass") if "\ud800" in damage else damage.encode())
    listing = Listing("abc", (RemoteFile("a.bin", 3),))
    assert store.lock("o/r") is None
    if damage is None:
        with pytest.raises(DownloadError, match="cannot be written"):
            store.write_lock("o/r", listing, ["a.bin"])
        return
    store.write_lock("o/r", listing, ["a.bin"])
    lock = store.lock("o/r")
    assert (lock.listing, lock.fetched) == (listing, {"a.bin"})
