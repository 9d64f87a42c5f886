"""Every size of an ACE-Step v1 transformer, and the two ways a latent is laid out. Knows no weights and no files.

Sound runs at 44,100 samples a second; 512 of them make a mel frame and 8 mel frames a latent frame (10.77 a second) of 8 channels
with 16 rows. In the house a latent is `[batch, frames, 128]`, channel before row; the transformer reads `[batch, 8, 16, frames]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models.weights import number, whole_number

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE, HOP, COMPRESSION = 44_100, 512, 8
"""Samples per second inside the model, samples per mel frame, mel frames per latent frame."""
FRAMES_PER_SECOND = SAMPLE_RATE / HOP / COMPRESSION
"""Latent frames in a second of music: 10.77."""
WHERE = "the v1 transformer"


def frames_of(seconds: float) -> int:
    """Whole latent frames in so many seconds, rounded down as the original does (30 s are 322)."""
    return int(seconds * FRAMES_PER_SECOND)


def seconds_of(frames: int) -> float:
    """Seconds of music in so many latent frames."""
    return frames / FRAMES_PER_SECOND


def to_image(latent: Tensor, rows: int = 16) -> Tensor:
    """The house's latent [batch, frames, channels * rows] as the transformer reads it: [batch, channels, rows, frames]."""
    return latent.unflatten(-1, (-1, rows)).permute(0, 2, 3, 1)


def to_frames(image: Tensor) -> Tensor:
    """The transformer's latent [batch, channels, rows, frames] as the house keeps it: [batch, frames, channels * rows]."""
    return image.permute(0, 3, 1, 2).flatten(2)


@dataclass(frozen=True)
class V1Config:
    """Every size of the transformer; the defaults are the published checkpoint's.

    The first lines are named as in its config.json; `patch_channels` and what follows is fixed in the original's code.
    """

    in_channels: int = 8
    out_channels: int = 8
    max_height: int = 16
    """Rows of a latent; a patch takes all of them and one frame."""
    num_layers: int = 24
    num_attention_heads: int = 20
    attention_head_dim: int = 128
    mlp_ratio: float = 2.5
    rope_theta: float = 1_000_000.0
    speaker_embedding_dim: int = 512
    text_embedding_dim: int = 768
    lyric_encoder_vocab_size: int = 6693
    lyric_hidden_size: int = 1024
    ssl_encoder_depths: tuple[int, ...] = (8, 8)
    """After which block, counted from 0, REPA looks; one for each model of `ssl_names`."""
    ssl_names: tuple[str, ...] = ("mert", "m-hubert")
    ssl_latent_dims: tuple[int, ...] = (1024, 768)
    patch_channels: int = 2048
    """Channels between the two convolutions that make tokens: 256 times the channels of a latent."""
    patch_groups: int = 32
    timestep_channels: int = 256
    lyric_layers: int = 6
    lyric_heads: int = 16
    lyric_feed_forward: int = 4096
    lyric_dropout: float = 0.1
    damped_blocks: tuple[int, int] = (15, 20)
    """First block whose queries ERG damps, and the one after the last."""
    damped_lyric_layers: tuple[int, int] = (4, 6)
    """First lyric layer whose queries ERG damps, and the one after the last."""

    def __post_init__(self) -> None:
        """CheckpointError where the sizes do not go together."""
        if self.attention_head_dim % 2:
            raise CheckpointError(
                f"The config of the v1 transformer has {self.attention_head_dim} for attention_head_dim; rotation needs pairs."
            )
        for name, fits in (
            ("rope_theta", self.rope_theta > 0), ("mlp_ratio", self.mlp_ratio > 0), ("lyric_dropout", 0 <= self.lyric_dropout < 1)
        ):  # fmt: skip
            if not fits:
                raise CheckpointError(
                    f"The config of the v1 transformer has {shown(getattr(self, name))} for {name}, where no model works with that."
                )
        for whole, part in (("lyric_hidden_size", "lyric_heads"), ("patch_channels", "patch_groups")):
            if getattr(self, whole) % getattr(self, part):
                raise CheckpointError(
                    f"The config of the v1 transformer has {getattr(self, whole)} for {whole}, which {getattr(self, part)} "
                    f"({part}) does not divide."
                )
        if not len(self.ssl_encoder_depths) == len(self.ssl_names) == len(self.ssl_latent_dims):
            raise CheckpointError(
                "The config of the v1 transformer needs as many ssl_encoder_depths as ssl_names and ssl_latent_dims."
            )
        for name, layers in (("damped_blocks", self.num_layers), ("damped_lyric_layers", self.lyric_layers)):
            found = getattr(self, name)
            if len(found) != 2 or not 0 <= found[0] < found[1] <= layers:
                raise CheckpointError(
                    f"The config of the v1 transformer has {list(found)} for {name}; of {layers} layers it names the first "
                    "and the one after the last."
                )
        if any(depth >= self.num_layers for depth in self.ssl_encoder_depths):
            raise CheckpointError(
                f"The config of the v1 transformer has {list(self.ssl_encoder_depths)} for ssl_encoder_depths, and "
                f"{self.num_layers} blocks."
            )

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def feed_forward(self) -> int:
        """Channels of one half of the gated convolution."""
        return int(self.dim * self.mlp_ratio)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> V1Config:
        """From the JSON of `ace_step_transformer/config.json`, with the original class's defaults for what it leaves out.

        CheckpointError where a size is none, or where it describes a model that this one is not.
        """
        given = {**CLASS_DEFAULTS} | {name: value for name, value in config.items() if value is not None}
        if list(_listed(given, "patch_size")) != [given["max_height"], 1]:
            raise CheckpointError(
                f"The config of the v1 transformer has {shown(given['patch_size'])} for patch_size; a patch takes all "
                f"{shown(given['max_height'])} rows and one frame."
            )
        read = {field.name: _read(given, field.name) for field in fields(cls) if field.name in given}
        read.setdefault("patch_channels", 256 * read["in_channels"])
        made = cls(**read)
        if given.get("inner_dim", made.dim) != made.dim:
            raise CheckpointError(
                f"The config of the v1 transformer has {shown(given['inner_dim'])} for inner_dim, and heads that make {made.dim}."
            )
        return made

    def to_config(self) -> dict[str, Any]:
        """As JSON; `from_config` makes the same again, whatever the sizes."""
        made = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return made | {"_class_name": "Transformer2DModel", "inner_dim": self.dim, "patch_size": [self.max_height, 1]}

    @classmethod
    def tiny(cls) -> V1Config:
        """Sizes of which no two are alike where a mix-up should be seen; under 2 MB of float32 weights."""
        return cls(
            num_layers=3, num_attention_heads=3, attention_head_dim=10, rope_theta=10_000.0, speaker_embedding_dim=14,
            text_embedding_dim=22, lyric_hidden_size=24, ssl_encoder_depths=(1, 1), ssl_latent_dims=(18, 26), patch_channels=40,
            patch_groups=5, timestep_channels=32, lyric_heads=4, lyric_feed_forward=44, damped_blocks=(1, 3),
        )  # fmt: skip


CLASS_DEFAULTS: Mapping[str, Any] = {
    "in_channels": 8, "num_layers": 28, "attention_head_dim": 64, "num_attention_heads": 24, "mlp_ratio": 4.0, "out_channels": 8,
    "rope_theta": 1_000_000.0, "speaker_embedding_dim": 512, "text_embedding_dim": 768, "ssl_encoder_depths": [9, 9],
    "ssl_names": ["mert", "m-hubert"], "ssl_latent_dims": [1024, 768], "lyric_encoder_vocab_size": 6681,
    "lyric_hidden_size": 1024, "patch_size": [16, 1], "max_height": 16,
}  # fmt: skip
"""What the original's class takes where its config says nothing: another model than the published one."""

_DECIMALS = ("mlp_ratio", "rope_theta", "lyric_dropout")
_FROM_ZERO = ("ssl_encoder_depths", "damped_blocks", "damped_lyric_layers")


def _read(config: Mapping[str, Any], name: str) -> Any:
    """One size of the config, checked."""
    if name in _DECIMALS:
        return number(config, name, WHERE)
    if name == "ssl_names":
        return tuple(str(one) for one in _listed(config, name))
    if name in ("ssl_latent_dims", *_FROM_ZERO):
        least = 0 if name in _FROM_ZERO else 1
        return tuple(whole_number({name: one}, name, WHERE, least=least, most=2**16) for one in _listed(config, name))
    return whole_number(config, name, WHERE, most=2**20)


def _listed(config: Mapping[str, Any], name: str) -> list[Any]:
    """A list of the config; CheckpointError where it is none."""
    found = config[name]
    if not isinstance(found, list | tuple) or not len(found) <= 16:
        raise CheckpointError(f"The config of the v1 transformer has {shown(found)} for {name}, a list.")
    return list(found)
