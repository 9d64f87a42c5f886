"""What a user can set outside a call: one table, read at one place. It knows no models and opens nothing.

::

    Settings.read(flags={"device": "cpu"}).value("device")     "cpu"
    Settings.read()["takes"].source                            "…/.env", "default", …
    VARIABLES.get("ACESTEP_DEVICE")                            the same order, for code that asks by variable

Flags come before the environment, that before `.env` in the working folder, that before `acestep_lab.toml` beside it, that
before `acestep_lab/config.toml` in this user's folder of settings. Reading runs nothing and writes nothing, `os.environ` least.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acestep_lab.errors import LabError, shown

ON, OFF = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
MOST_BYTES = 1 << 20
"""A file of settings is smaller than this."""
_OURS = "acestep_lab"  # our folder and file among those of others
MOST = {"port": 65535, "count": 100_000, "seconds": 1_000_000}
"""The kinds of setting that are whole numbers, each with the highest."""
FEATURE = "ACESTEP_FEATURE_"
"""How the variables of feature flags begin; `features.py` reads them."""
FEATURES = ("LORA_TRAINING", "API_TRAINING_ENDPOINTS", "ADVANCED_EDITING", "BATCH_GENERATION", "EXPERIMENTAL_SCORING")


@dataclass(frozen=True)
class Setting:
    """One thing that can be set: our name, the variables that set it (the first is ours), and what a value may be."""

    name: str
    variables: tuple[str, ...]
    kind: str  # "text", "path", "flag", "gigabytes", "secret", "port", "count", "seconds"
    default: str  # as it is shown where nothing is set
    purpose: str
    choices: tuple[str, ...] = ()  # none: any
    pattern: str = ""  # instead of choices


_DEVICES = r"auto|(cpu|cuda|mps|xpu)(:\d{1,3})?"
_CARD_NUMBER, _CARD_NAME = r"((cuda|xpu):)?\d{1,3}", r"[a-z][a-z0-9_]{0,39}"
CARDS = rf"auto|single:{_CARD_NUMBER}|(({_CARD_NAME}:)?{_CARD_NUMBER})(,({_CARD_NAME}:)?{_CARD_NUMBER})*"
"""What a wish for cards looks like; `models/cards.py` says what it means."""
CARD_FORMS = "auto, single:0, dit:0,lm:1 (component:card), or 0,1 (cards that share the takes)"
_DTYPES = ("auto", "float32", "fp32", "bfloat16", "bf16", "float16", "fp16", "half")
_CARD = "simulate a card of so many GB, or cap a real one"

SETTINGS = (
    Setting("device", ("ACESTEP_DEVICE",), "text", "auto", "where the work runs", pattern=_DEVICES),
    Setting("devices", ("ACESTEP_GPU_MAPPING",), "text", "one", "which cards work, of several", pattern=CARDS),
    Setting("dtype", ("ACESTEP_DTYPE",), "text", "auto", "what it computes in", _DTYPES),
    Setting(
        "threads", ("ACESTEP_LAB_THREADS",), "text", "auto", "how many threads a CPU works with", pattern=r"auto|torch|[1-9]\d{0,2}"
    ),
    Setting("checkpoint", ("ACESTEP_LAB_CHECKPOINT", "ACESTEP_CONFIG_PATH"), "text", "pocket", "what is opened"),
    Setting("lm", ("ACESTEP_LAB_LM", "ACESTEP_LM_MODEL_PATH"), "text", "the checkpoint's own", "its planner"),
    Setting("takes", ("ACESTEP_LAB_TAKES",), "path", "this user's data folder", "where takes are kept"),
    Setting("adapters", ("ACESTEP_LAB_ADAPTERS",), "path", "this user's data folder", "adapters the REST door may load"),
    Setting("training", ("ACESTEP_LAB_TRAINING",), "path", "this user's data folder", "songs the REST door may learn from"),
    Setting("lyric_vocabulary", ("ACESTEP_LAB_LYRIC_VOCABULARY",), "path", "the checkpoint's own", "vocab.json of ACE-Step v1"),
    Setting("compile_model", ("ACESTEP_COMPILE_MODEL",), "flag", "false", "whether the blocks of a DiT are compiled"),
    Setting("graphs", ("ACESTEP_LAB_GRAPHS",), "flag", "false", "whether steps of a DiT are recorded and replayed on a card"),
    Setting("beat_this", ("ACESTEP_LAB_BEAT_THIS",), "path", "our own ears", "a beat-this checkpoint that hears the beats"),
    Setting(
        "lm_step", ("ACESTEP_LM_STEP",), "text", "auto", "how the steps of the planner and of MusicGen run on a card",
        ("auto", "graph", "compile", "plain"),
    ),
    Setting("overlap", ("ACESTEP_LAB_OVERLAP",), "flag", "on", "whether a card copies weights and sound while it computes"),
    Setting(
        "pinned", ("ACESTEP_LAB_PINNED_GB",), "gigabytes", "half of the RAM",
        "how many GB weights that wait for a card may pin",
    ),
    Setting("mirror", ("ACESTEP_LAB_MIRROR_GB",), "gigabytes", "2", "how many GB of another machine's sounds are kept here"),
    Setting(
        "download_source", ("ACESTEP_DOWNLOAD_SOURCE",), "text", "auto", "the hub that is asked",
        ("auto", "huggingface", "modelscope"),
    ),
    Setting("progress", ("ACESTEP_LAB_PROGRESS",), "flag", "on", "whether whoever waits for a run sees how far it is"),
    Setting("stills", ("ACESTEP_LAB_STILLS",), "flag", "off", "whether a notebook keeps short sounds beside its widgets"),
    Setting("max_cuda_vram", ("MAX_CUDA_VRAM",), "gigabytes", "all there is", _CARD),
    Setting("max_mps_vram", ("MAX_MPS_VRAM",), "gigabytes", "all there is", _CARD),
    Setting("max_xpu_vram", ("MAX_XPU_VRAM",), "gigabytes", "all there is", _CARD),
    Setting("origin", ("ACESTEP_LAB_ORIGIN",), "text", "none", "hosts by which a Jupyter server is known, with commas"),
    Setting("token", ("ACESTEP_LAB_TOKEN",), "secret", "none", "the word that visitors of the studio must know"),
    Setting(
        "server", ("ACESTEP_LAB_SERVER",), "text", "this machine",
        "the door where the models are: Session.open() connects to it, with the api_key",
    ),
    Setting("api_key", ("ACESTEP_API_KEY",), "secret", "none", "the key that clients of the REST door must send"),
    Setting("api_host", ("ACESTEP_API_HOST",), "text", "127.0.0.1", "the address at which the REST door listens"),
    Setting("api_port", ("ACESTEP_API_PORT",), "port", "8001, or the studio's own", "the port of the REST door"),
    Setting("queue_maxsize", ("ACESTEP_QUEUE_MAXSIZE",), "count", "200", "how many tasks of the REST door may wait"),
    Setting("generation_timeout", ("ACESTEP_GENERATION_TIMEOUT",), "seconds", "none", "how long one render of a door may take"),
    Setting("tmpdir", ("ACESTEP_TMPDIR",), "path", "the system's", "where the REST door keeps uploads and results meanwhile"),
    Setting("modelscope", ("MODELSCOPE_ENDPOINT",), "text", "https://modelscope.cn", "the address of that hub"),
)  # fmt: skip
"""Everything something here honours, in the order in which the doctor lists it."""

_PLANNED = "what stays on the card is worked out from its memory"
_LAZY = "nothing loads before it is first asked for, and whoever wants no planner says thinking=False"
NOT_NEEDED: Mapping[str, str] = {
    "ACESTEP_API_WORKERS": "one process serves everybody, with one copy of each model",
    **dict.fromkeys(("ACESTEP_CONFIG_PATH2", "ACESTEP_CONFIG_PATH3"), "`lab.use(name)` opens more checkpoints"),
    "ACESTEP_LM_BACKEND": "the planner has one way of running",
    "ACESTEP_LM_DEVICE": "the planner works where the model does, or where ACESTEP_GPU_MAPPING says: dit:0,lm:1",
    **dict.fromkeys(("ACESTEP_LM_OFFLOAD_TO_CPU", "ACESTEP_OFFLOAD_TO_CPU", "ACESTEP_OFFLOAD_DIT_TO_CPU"), _PLANNED),
    **dict.fromkeys(("ACESTEP_SAVE_MEMORY", "ACESTEP_BATCH_SIZE"), _PLANNED),
    **dict.fromkeys(("ACESTEP_INIT_LLM", "ACESTEP_NO_INIT"), _LAZY),
    "ACESTEP_USE_FLASH_ATTENTION": "torch picks the quickest exact attention",
    "ACESTEP_QUEUE_WORKERS": "runs wait in one queue before one worker",
    **dict.fromkeys(("ACESTEP_AVG_JOB_SECONDS", "ACESTEP_AVG_WINDOW"), "how long a run takes is measured on this machine"),
    "ACESTEP_CHECKPOINTS_DIR": "checkpoints are in Hugging Face's cache; HF_HOME moves it",
}  # fmt: skip
"""Variables of the reference that are understood and need nothing here, each with the reason."""

_BY_VARIABLE = {variable: one for one in SETTINGS for variable in one.variables}
_BY_NAME = {one.name: one for one in SETTINGS}


@dataclass(frozen=True)
class Value:
    """What a setting is set to, and by what."""

    setting: Setting
    text: str | None  # None: nothing sets it
    source: str  # "--device", "environment (ACESTEP_DEVICE)", a file, "default"

    def __str__(self) -> str:
        if self.text is None:
            return self.setting.default
        return "set" if self.setting.kind == "secret" else self.text


@dataclass(frozen=True)
class _Source:
    """One place that sets things: how it is called, and its words by variable or name."""

    title: str
    words: Mapping[str, str]

    def find(self, setting: Setting) -> Value | None:
        """What it says of a setting; an empty word is none, as in a shell."""
        for key in (*setting.variables, setting.name):
            if text := self.words.get(key, "").strip():
                title = f"--{key.replace('_', '-')}" if self.title == "flag" else f"{self.title} ({key})"
                return Value(setting, text, title)
        return None


@dataclass(frozen=True)
class Settings:
    """All settings as they are now, each with where it comes from."""

    values: Mapping[str, Value]
    warnings: tuple[str, ...] = ()
    unneeded: frozenset[str] = frozenset()  # variables of NOT_NEEDED that somebody set

    @classmethod
    def read(
        cls, flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None,
        folder: Path | None = None, user_file: Path | None = None,
    ) -> Settings:  # fmt: skip
        """Read every place. `folder` is where `.env` and `acestep_lab.toml` lie (the working folder), None in `flags` is
        "not given". Raises LabError, naming the place, for a value that cannot be or a file that cannot be read.
        """
        words = {key: str(value) for key, value in (flags or {}).items() if value is not None}
        environment = _Source("environment", os.environ if env is None else env)
        sources = (_Source("flag", words), environment, *_files(folder or _here(), user_file))
        values = {one.name: _first(one, sources) for one in SETTINGS}
        warnings = tuple(line for source in sources[1:] for line in _unknown(source))
        return cls(values, warnings, frozenset(key for one in sources for key in one.words if key in NOT_NEEDED))

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def value(self, name: str) -> str | None:
        """What a setting is set to; None where nothing sets it."""
        return self.values[name].text

    def on(self, name: str) -> bool:
        """Whether a flag is set to yes."""
        return self.value(name) in ON

    def number(self, name: str) -> int | None:
        """What a port, a count or seconds are set to; None where nothing sets it."""
        text = self.value(name)
        return None if text is None else int(text)


def _first(setting: Setting, sources: tuple[_Source, ...]) -> Value:
    """What the first place that knows a setting says of it, checked."""
    for source in sources:
        if found := source.find(setting):
            _check(found)
            return found
    return Value(setting, None, "default")


def _check(value: Value) -> None:
    """LabError where a value is none of those that can be; a secret is not quoted."""
    setting, text, told = value.setting, (value.text or "").lower(), shown(value.text)
    if setting.kind == "flag" and text not in (*ON, *OFF):
        raise LabError(f"The setting {setting.name} is on or off, not {told}; {value.source} says so.")
    if setting.kind == "gigabytes" and not _is_size(text):
        raise LabError(f"The setting {setting.name} is a size in GB such as 8, not {told}; {value.source} says so.")
    if (most := MOST.get(setting.kind)) and not _is_whole(text, most):
        raise LabError(
            f"The setting {setting.name} is a whole number from 1 to {most}, not {told}; {value.source} says so."
        )
    fits = re.fullmatch(setting.pattern, text) if setting.pattern else not setting.choices or text in setting.choices
    if not fits:
        usual = CARD_FORMS if setting.pattern == CARDS else "auto, cpu, cuda, cuda:1, mps or xpu"
        there = ", ".join(setting.choices) or usual
        raise LabError(f"The setting {setting.name} is one of {there}, not {told}; {value.source} says so.")


def _is_whole(text: str, highest: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 12 and 0 < int(text) <= highest


def _is_size(text: str) -> bool:
    try:
        return 0 < float(text) < 100_000
    except ValueError:
        return False


def _here() -> Path | None:
    """The working folder; None where it has been removed, as a notebook's may be."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _files(folder: Path | None, user_file: Path | None = None) -> tuple[_Source, ...]:
    """The files that set things, those before others first; one that is not there sets nothing."""
    from platformdirs import user_config_path

    own = user_file or user_config_path(_OURS) / "config.toml"
    readers: list[tuple[Path, Callable[[Path, str], Mapping[str, str]]]] = [(own, _toml)]
    if folder is not None:
        readers = [(folder / ".env", _dotenv), (folder / f"{_OURS}.toml", _toml), *readers]
    return tuple(_Source(str(path), read(path, text)) for path, read in readers if (text := _text(path)) is not None)


def _text(path: Path) -> str | None:
    """What a file says; None where there is none (a folder called `.env` is a virtual environment's)."""
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MOST_BYTES:
            raise LabError(f"{path} is no file of settings: it is larger than 1 MB.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise LabError(f"The settings in {path} cannot be read: {reason}.") from None


def _dotenv(path: Path, text: str) -> dict[str, str]:
    """The words of a `.env`; nothing in it is filled in from elsewhere."""
    from dotenv import dotenv_values

    return {key: value for key, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items() if value}


def _toml(path: Path, text: str) -> dict[str, str]:
    """The words of a TOML file; LabError where it is none, or a value is a table or a list."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path} is no TOML file: {str(error)[:120]}.") from None
    words = {}
    for key, value in table.items():
        if not isinstance(value, str | bool | int | float):
            raise LabError(
                f"{shown(key)} in {path} is a word, a number, true or false, and neither a table nor a list."
            )
        words[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return words


def _unknown(source: _Source) -> Iterator[str]:
    """A sentence for each name that nobody here knows, with the nearest one that is known."""
    known = {*_BY_VARIABLE, *NOT_NEEDED, *(FEATURE + name for name in FEATURES)}
    in_toml = source.title.endswith(".toml")
    for key in sorted(source.words):
        if key in known or not (key.startswith("ACESTEP_") or (in_toml and key not in _BY_NAME)):
            continue
        near = difflib.get_close_matches(key, [*known, *_BY_NAME] if in_toml else known, 1)
        meant = f"; {near[0]} is probably meant" if near else ""
        yield f"{source.title} sets {shown(key)}, which nothing here knows{meant}."


def planner(word: str) -> str:
    """A planner by its short name: "acestep-5Hz-lm-0.6B" is "0.6B"; folders and hub ids stay."""
    return word.removeprefix("acestep-5Hz-lm-")


class _Variables(Mapping[str, str]):
    """The environment with what files set behind it, by variable: what code reads that once asked `os.environ`.

    What the environment says is handed on as it is, so that whoever asks checks it in its own words.
    """

    def __getitem__(self, variable: str) -> str:
        setting = _BY_VARIABLE.get(variable)
        environment = _Source("environment", os.environ)
        if setting is None:
            return os.environ[variable] if variable in os.environ else self._feature(variable)
        found = environment.find(setting) or _first(setting, _files(_here()))
        if found.text is None:
            raise KeyError(variable)
        return found.text

    def _feature(self, variable: str) -> str:
        """What a file says of a variable that is no setting; only feature flags are looked for."""
        if variable.startswith(FEATURE):
            for source in _files(_here()):
                if variable in source.words:
                    return source.words[variable]
        raise KeyError(variable)

    def __iter__(self) -> Iterator[str]:
        return (variable for variable in dict.fromkeys((*os.environ, *_BY_VARIABLE)) if self.get(variable) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


VARIABLES: Mapping[str, str] = _Variables()
"""Variables by name, live: the environment first, then the files."""
