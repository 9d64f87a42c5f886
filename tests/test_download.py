"""Weights arrive whole or not at all, from hubs that drop, cut, lie and disappear. A server on this machine plays them."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from acestep_lab.engines import registry
from acestep_lab.errors import CheckpointError, DownloadError, MachineError
from acestep_lab.models.catalog import MAIN_REPO
from acestep_lab.models.download import (
    LOCKFILE,
    FileSelection,
    HuggingFace,
    Listing,
    ModelScope,
    RemoteFile,
    Store,
    fetch,
    known_hubs,
    verify,
)
from acestep_lab.models.loading import Checkpoint
from tests.hub_server import REVISION, HubServer
from tests.tiny_musicgen import tiny_musicgen

REPO = "somebody/tiny-checkpoint"
WEIGHTS = bytes(range(256)) * 2000  # 512 kB
FILES = {
    "transformer/config.json": b'{"is_turbo": true}',
    "transformer/model.safetensors": WEIGHTS,
    "vae/config.json": b"{}",
    "README.md": b"not fetched",
    "modeling.py": b"never fetched",
}


@pytest.fixture
def hub():
    """Starts hubs with faults, and stops them."""
    running = []

    def start(files=FILES, **faults):
        running.append(HubServer(files, **faults).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def bring(tmp_path):
    """`fetch` into a cache of its own, from hubs on this machine, without pauses."""

    def run(*servers, name=REPO, lm=None, scope=None, **more):
        hubs = [HuggingFace(server.endpoint) for server in servers]
        hubs += [ModelScope(scope.endpoint)] if scope else []
        more.setdefault("store", Store(tmp_path / "cache"))
        files = registry.download(name, lm)
        return fetch(name, files, hubs=hubs, offline=more.pop("offline", False), pause=0, **more)

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
    bring(hub(), on_progress=heard.append, on_message=said.append)
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
    ranges = [asked for path, asked in server.asked if path.endswith(".safetensors")]
    assert ranges[0] is None
    assert len(ranges) == 4
    starts = [int(asked[6:-1]) for asked in ranges[1:]]
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
    fetched = bring(hub(cut=200_000), scope=hub(), on_message=said.append)
    assert arrived(fetched) == EXPECTED
    assert any("trying 127.0.0.1" in sentence for sentence in said)


def test_a_file_truncated_everywhere_is_refused_with_how_much_is_there(hub, bring):
    with pytest.raises(
        DownloadError,
        match=r"stopped after 200,000 of 512,000 bytes|has a shorter file than it lists. Ask for the newest",
    ):
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
        ({"page": b"<html>please log in</html>"}, "sent a page that is no listing"),
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
    partial = store.partial_path(REPO, file)
    partial.parent.mkdir(parents=True)
    partial.symlink_to(full)
    with pytest.raises(MachineError, match="The disk is full"):
        bring(hub(), store=store)


@pytest.mark.parametrize("blocked", ["cache", "cache/models--somebody--tiny-checkpoint/.partial", "{target}"])
def test_a_place_that_cannot_be_written_is_a_sentence(hub, bring, tmp_path, blocked):
    target = f"cache/models--somebody--tiny-checkpoint/snapshots/{REVISION}/transformer/model.safetensors/folder"
    path = tmp_path / blocked.format(target=target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a file where a folder belongs, or the other way round")
    with pytest.raises(MachineError, match=r"cannot be written \(.*\); name another folder"):
        bring(hub())


def test_a_checkpoint_that_is_here_whole_needs_no_writing(hub, bring, tmp_path):
    fetched = bring(hub())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert bring(hub(), offline=True).places == fetched.places
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before


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
    assert registry.download("pocket") == ()
    assert registry.download("turbo", "1.7B") == (
        FileSelection(MAIN_REPO, ("Qwen3-Embedding-0.6B", "acestep-5Hz-lm-1.7B", "acestep-v15-turbo", "vae")),
    )
    assert [want.repo for want in registry.download("xl-base", "4B")] == [
        "ACE-Step/acestep-v15-xl-base",
        MAIN_REPO,
        "ACE-Step/acestep-5Hz-lm-4B",
    ]


def test_the_pocket_checkpoint_needs_no_download():
    assert "ships with this package" in str(fetch("pocket", registry.download("pocket"), offline=True))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(CheckpointError, match="did you mean turbo"):
        registry.download("turbbo")
    with pytest.raises(CheckpointError, match=r"No planner is called '1.8B'; did you mean 1.7B"):
        registry.download("turbo", lm="1.8B")
    with pytest.raises(CheckpointError, match="did you mean musicgen-small"):
        registry.download("musicgen-smal")
    with pytest.raises(CheckpointError, match="MusicGen has no planner"):
        registry.download("musicgen-small", lm="1.7B")


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_every_name_of_every_catalog_says_what_to_fetch(entry):
    wanted = registry.download(entry.name)
    assert [one.repo for one in wanted][:1] == ([entry.repo] if entry.repo else [])
    if entry.repo not in (None, MAIN_REPO):
        assert registry.download(entry.repo) == wanted


def test_a_musicgen_arrives_by_its_name_and_is_opened_by_it(hub, bring, tmp_path, monkeypatch):
    here = tiny_musicgen(tmp_path / "made")
    files = {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    fetched = bring(hub(files | {"state_dict.bin": b"never fetched"}), name="musicgen-small")
    assert set(arrived(fetched, "facebook/musicgen-small")) == set(files)
    engine = registry.open_engine(fetched.places["facebook/musicgen-small"])
    assert engine.capabilities.family == "musicgen"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="`acestep-lab download musicgen-melody`"):
        registry.open_engine("musicgen-melody")


def test_a_licence_that_asks_something_is_said_where_weights_are_fetched(hub, tmp_path, monkeypatch, capsys):
    from acestep_lab.cli import main

    monkeypatch.setenv("ACESTEP_DOWNLOAD_SOURCE", "modelscope")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub({"config.json": b"{}"}).endpoint)
    assert main(["download", "musicgen-small", "--folder", str(tmp_path), "--no-offline"]) == 0
    out, err = capsys.readouterr()
    assert "musicgen-small is here whole" in out
    assert "musicgen-small: Its weights are under CC-BY-NC-4.0. They are not for commercial use." in err


def test_what_was_fetched_is_listed_from_the_disk(hub, bring, tmp_path):
    store = Store(tmp_path / "cache")
    assert store.recorded_repos() == ()
    bring(hub())
    bring(hub(), name="facebook/musicgen-small")
    assert store.recorded_repos() == ("facebook/musicgen-small", REPO)
    (store.repo_folder(REPO) / LOCKFILE).write_text("[")
    assert store.recorded_repos() == ("facebook/musicgen-small",)


def test_files_changed_on_disk_are_found(hub, bring, tmp_path):
    store = Store(tmp_path / "cache")
    place = bring(hub()).places[REPO]
    assert verify(REPO, store, deep=True) == []
    weights = place / "transformer/model.safetensors"
    weights.write_bytes(b"x" * len(WEIGHTS))
    assert verify(REPO, store) == []
    assert "has changed since" in verify(REPO, store, deep=True)[0]
    weights.write_bytes(b"x")
    assert "has 1 of 512,000 bytes" in verify(REPO, store)[0]
    weights.unlink()
    assert "is missing" in verify(REPO, store)[0]
    assert verify("nobody/knows", store) == []


def test_this_machines_hubs_are_the_two_known_ones():
    assert [type(hub) for hub in known_hubs()] == [HuggingFace, ModelScope]


def test_the_command_line_fetches_goes_on_and_says_what_is_here(hub, tmp_path, monkeypatch, capsys):
    from acestep_lab.cli import main

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
    path = store.repo_folder("o/r") / LOCKFILE
    path.parent.mkdir(parents=True)
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage.encode("utf-16-le", "surrogatepass") if "\ud800" in damage else damage.encode())
    listing = Listing("abc", (RemoteFile("a.bin", 3),))
    assert store.read_lock("o/r") is None
    if damage is None:
        with pytest.raises(DownloadError, match="cannot be written"):
            store.write_lock("o/r", listing, ["a.bin"])
        return
    store.write_lock("o/r", listing, ["a.bin"])
    lock = store.read_lock("o/r")
    assert (lock.listing, lock.fetched) == (listing, {"a.bin"})


# -- what Hugging Face's libraries do, in our words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        (
            {"status_of_files": 403, "code": "GatedRepo"},
            r"keeps it gated\. Accept its terms on 127.*/{repo}, then log in",
        ),
        ({"status": 404, "code": "RepoNotFound"}, r"does not know it\. Check its spelling; if it is private, log in"),
        ({"status": 404, "code": "RevisionNotFound"}, r"no longer has the revision fetched first\. Ask for the newest"),
        ({"status": 401}, r"does not let us in\. Log in with `hf auth login` or set HF_TOKEN"),
        ({"status_of_files": 500}, r"answers with status 500\. Check the connection"),
        ({"status": 429}, r"asks us to wait\. Run the download again in some minutes"),
        ({"page": b"[]"}, "sent a page that is no listing"),
        ({"page": b'{"siblings": 3}'}, "sent a page that is no listing"),
        ({"page": b'{"id": "a/b", "sha": "../../..", "siblings": []}'}, "sent a page that is no listing"),
        ({"page": b"\xff\xfe\x00"}, "sent a page that is no listing"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_with_what_would_be_right(hub, bring, faults, sentence):
    with pytest.raises(DownloadError, match=sentence.replace("{repo}", REPO)) as refusal:
        bring(hub(**faults))
    assert len(str(refusal.value)) < 300
    assert "Request ID" not in str(refusal.value)


@pytest.mark.parametrize(
    "fault", [{"status": 404, "code": "RepoNotFound"}, {"status_of_files": 403, "code": "GatedRepo"}]
)
def test_a_repo_that_one_hub_keeps_from_us_is_taken_from_the_other(hub, bring, fault):
    assert arrived(bring(hub(**fault), scope=hub())) == EXPECTED


@pytest.mark.parametrize("endpoint", ["nowhere", "ftp://example", "http://[", "http://127.0.0.1:1"])
@pytest.mark.parametrize("kind", [HuggingFace, ModelScope])
def test_an_address_that_is_none_is_a_sentence(tmp_path, kind, endpoint):
    with pytest.raises(DownloadError, match=r"could not be looked up: .*(cannot be reached|is no address)"):
        fetch(REPO, hubs=[kind(endpoint)], offline=False, pause=0, store=Store(tmp_path))


@pytest.mark.parametrize("name", ["a/b c", "--/x", "a/" + "b" * 200, "ä/ö", "a/b\n"])
def test_a_name_that_is_no_hub_id_is_a_sentence(hub, bring, name):
    with pytest.raises(DownloadError, match="A hub id is owner/name"):
        bring(hub(), name=name)


def test_nothing_of_the_libraries_shows_on_the_screen(hub, bring, capfd):
    from huggingface_hub.utils import logging as hub_logging

    before = hub_logging.get_verbosity()
    bring(hub(drops=2))
    assert capfd.readouterr() == ("", "")
    assert hub_logging.get_verbosity() == before


def test_who_asks_for_a_download_is_heard_where_the_library_is_offline_and_only_then(hub, bring):
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE  # as all tests are
    bring(hub(), offline=False)
    assert constants.HF_HUB_OFFLINE
    server = hub()
    with pytest.raises(DownloadError, match="offline mode is on"):
        bring(server, offline=None, name="somebody/else")
    assert server.addresses == []


def test_a_token_is_not_taken_along_to_where_a_redirect_leads(hub, tmp_path):
    elsewhere = hub()
    server = hub(redirect=elsewhere.endpoint)
    fetch(REPO, hubs=[HuggingFace(server.endpoint, "secret")], offline=False, pause=0, store=Store(tmp_path))
    assert set(server.authorizations) == {"Bearer secret"}
    assert set(elsewhere.authorizations) == {None}


# -- going on ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [{"reset": True}, {"reset": False}], ids=["reset", "closed"])
def test_however_a_connection_breaks_little_is_sent_twice(hub, bring, faults):
    server = hub(drops=3, after=100_000, **faults)
    assert arrived(bring(server)) == EXPECTED
    assert server.sent < 1.3 * sum(map(len, EXPECTED.values()))


def test_what_one_hub_began_another_goes_on_with(hub, bring):
    mirror = hub()
    assert arrived(bring(hub(drops=99, after=60_000, cut=300_000), scope=mirror)) == EXPECTED
    weights = [asked for path, asked in mirror.asked if path.endswith(".safetensors")]
    assert weights == ["bytes=300000-"]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * 600_000], ids=["shorter", "longer"])
def test_a_partial_file_that_was_damaged_is_fetched_anew_by_the_same_call(hub, bring, tmp_path, stale):
    store, file = Store(tmp_path / "cache"), RemoteFile("m", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    path = store.partial_path(REPO, file)
    path.parent.mkdir(parents=True)
    path.write_bytes(stale)
    assert arrived(bring(hub(), store=store)) == EXPECTED


class Enough(Exception):
    """Raised by who watches, to stop."""


@pytest.mark.parametrize("xet", [False, True], ids=["http", "xet"])
def test_whoever_watches_can_stop_and_the_next_call_goes_on(hub, bring, xet):
    weights = bytes(range(256)) * 8000  # 2 MB
    server = hub(FILES | {"transformer/model.safetensors": weights}, xet=xet)

    def stop_in_the_middle(progress):
        if progress.done > 500_000:
            raise Enough

    with pytest.raises(Enough):
        bring(server, on_progress=stop_in_the_middle)
    server.asked.clear()
    assert arrived(bring(server))["transformer/model.safetensors"] == weights
    start = int(server.asked[0][1].removeprefix("bytes=").split("-")[0])
    assert start > 500_000


@pytest.mark.parametrize("faults", [{}, {"xet": True}, {"mirror": True}], ids=["http", "xet", "mirror"])
def test_ctrl_c_ends_a_download_that_waits_for_a_silent_hub(hub, bring, faults):
    server = hub({"transformer/model.safetensors": WEIGHTS}, stall=5, **faults)
    began = time.monotonic()
    press = threading.Timer(0.7, os.kill, [os.getpid(), signal.SIGINT])
    press.start()
    with pytest.raises(KeyboardInterrupt):
        bring(*([] if "mirror" in faults else [server]), scope=server if "mirror" in faults else None)
    assert time.monotonic() - began < 4
    press.join()


def test_two_downloads_of_one_repo_wait_for_each_other_and_both_have_it(hub, bring):
    server, said, results = hub(silent=0.1), [], []
    both = [
        threading.Thread(target=lambda: results.append(arrived(bring(server, on_message=said.append))))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert results == [EXPECTED, EXPECTED]
    assert any("is being fetched already; waiting" in sentence for sentence in said)
    assert len(server.asked) == 3


# -- Xet storage ---------------------------------------------------------------------------------------------------------


def test_weights_in_xet_storage_come_in_chunks_from_there_and_nothing_is_reported_home(hub, bring):
    server = hub(xet=True)
    heard = []
    assert arrived(bring(server, on_progress=heard.append)) == EXPECTED
    assert server.fetched.count("xet") == 1
    assert "transformer/model.safetensors" not in server.fetched
    assert not [address for address in server.addresses if address.startswith("POST")]
    assert [progress.done for progress in heard if progress.path.endswith(".safetensors")][-1] == len(WEIGHTS)


def test_a_file_begun_over_http_goes_on_from_xet_storage(hub, bring):
    with pytest.raises(DownloadError):
        bring(hub(cut=300_000))
    server = hub(xet=True)
    assert arrived(bring(server)) == EXPECTED
    assert server.asked[0] == ("xet", "bytes=300000-511999")
    assert server.sent < 0.6 * len(WEIGHTS)


def test_wrong_chunks_from_xet_storage_are_never_kept(hub, bring, tmp_path):
    with pytest.raises(DownloadError, match="sent another file: its checksum is"):
        bring(hub(xet=True, instead=b"x" * len(WEIGHTS)))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("status", [401, 404])
def test_barred_xet_storage_is_named_with_the_way_around_it_and_the_mirror_is_asked(hub, bring, status):
    with pytest.raises(DownloadError, match=r"fails to bring it from Xet storage \(.*set HF_HUB_DISABLE_XET=1"):
        bring(hub(xet=True, xet_status=status))
    assert arrived(bring(hub(xet=True, xet_status=status), scope=hub())) == EXPECTED
