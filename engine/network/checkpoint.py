"""Networks on disk: the one door between this room and the file system.

A checkpoint is a safetensors file. Its header carries, as one JSON object, all that is needed to
build the network again and to know what it plays:

    {"format": 1, "network": {…NetworkConfig…}, "metadata": {…the caller's: step, seed, …},
     "variant": {"name": …, "digest": …, "ini": …}}

A universal network has, in the place of "network" and "variant", what it is and where it learned:

    {"format": 1, "universal": {…UniversalConfig…}, "trained_on": ["gardner", …],
     "digests": {"gardner": …, …}, "metadata": {…}}

`save_tensors` and `load_tensors` write and read any other tensors in the same way: a file appears
whole or not at all. NaN and infinities are refused when it is written and when it is read.

All that stands in a file may have been written by anyone: what is taken from it is checked first.
"""

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.finite import require_finite_tensors, tensor_fault
from engine.network.model.config import BuildConfig, NetworkConfig, quoted
from engine.network.model.former_names import with_current_names
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.network.model.variant_features import KINDS
from engine.network.stored_json import parse_json
from engine.rules.errors import InputError, NotFiniteError
from engine.rules.variant import Variant, get_variant
from engine.system.files import replacing

FORMAT: Final = 1
_KEY: Final = "pawnscope"
"""Where our JSON stands among safetensors' own metadata."""
_TOKEN: Final = "embedding.token.weight"
_KIND: Final = "embedding.kind.weight"
"""Where ordinary and universal networks keep a vector for each token, for each kind of token."""

_DIGEST: Final = 64
"""Characters of a digest that messages repeat; ours have fewer."""

Metadata = dict[str, Any]


class CheckpointError(InputError):
    """A file that cannot be used as what it was asked for; names the file and what is wrong."""


class Description(NamedTuple):
    """What a checkpoint says of itself."""

    config: NetworkConfig
    variant_name: str
    variant_digest: str
    """`Variant.digest` of the rules that it was trained for."""
    variant_ini: str
    """`Variant.ini()`, enough to define the variant where it is unknown."""
    metadata: Metadata

    def is_for(self, variant: Variant) -> bool:
        """Whether it was trained for these rules, whatever their name."""
        return variant.digest == self.variant_digest


class UniversalDescription(NamedTuple):
    """What the checkpoint of a universal network says of itself."""

    config: UniversalConfig
    trained_on: tuple[str, ...]
    """Names of the games that it has learned; it plays others as well as it can."""
    digests: dict[str, str]
    """`Variant.digest` of their rules by name, as far as its maker said them."""
    metadata: Metadata

    def is_for(self, variant: Variant) -> bool:
        """Whether it was trained on this game, among others: not on other rules of that name."""
        rules = self.digests.get(variant.name, variant.digest)
        return variant.name in self.trained_on and rules == variant.digest


class LoadedCheckpoint(NamedTuple):
    """A network and what its maker said of it."""

    network: PolicyValueNet
    metadata: Metadata


class LoadedUniversal(NamedTuple):
    """A universal network and what its maker said of it."""

    network: UniversalNet
    metadata: Metadata


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor | npt.NDArray[np.generic]],
    metadata: Mapping[str, object],
) -> None:
    """Write tensors and JSON metadata to a safetensors file, whole or not at all.

    The file is written beside its place under a temporary name, synced and renamed; on failure (a
    full disk) the temporary file goes and what stood at `path` stays. Raises OSError, and
    NotFiniteError, naming the tensor, for NaN or an infinity in one or in the metadata.
    """
    ready = {
        name: (torch.from_numpy(tensor) if isinstance(tensor, np.ndarray) else tensor).contiguous()
        for name, tensor in tensors.items()
    }
    require_finite_tensors(ready, f"{path}: not written: tensor")
    try:
        text = json.dumps(metadata, allow_nan=False)
    except ValueError:
        raise NotFiniteError(f"{path}: not written: a number in its header is not finite") from None
    data = safetensors.torch.save(ready, {_KEY: text})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], Metadata]:
    """The tensors and metadata of `save_tensors`.

    Raises OSError, and CheckpointError for a file that is truncated, damaged or not ours, and for a
    tensor, by its name, that holds NaN or an infinity.
    """
    return _read(Path(path), with_tensors=True)


def read_metadata(path: str | Path) -> Metadata:
    """The metadata of `save_tensors` alone; reads only the header. Raises as `load_tensors`."""
    return _read(Path(path), with_tensors=False)[1]


def save_checkpoint(
    path: str | Path,
    network: PolicyValueNet | UniversalNet,
    *,
    metadata: Mapping[str, object],
    trained_on: Sequence[str] = (),
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write a network with its configuration, its variant's rules and free metadata (JSON).

    Of a universal network no rules but the names of the variants that it was `trained_on`, and by
    name the `digests` of their rules as far as they are known. Raises OSError, and
    UnknownVariantError where the configuration's variant is not loaded.
    """
    header: Metadata = {"format": FORMAT, "metadata": dict(metadata)}
    if isinstance(network, UniversalNet):
        header |= {"universal": network.config.to_dict(), "trained_on": list(trained_on)}
        header |= {"digests": dict(digests)} if digests else {}
    else:
        variant = get_variant(network.config.variant)
        rules = {"name": variant.name, "digest": variant.digest, "ini": variant.ini()}
        header |= {"network": network.config.to_dict(), "variant": rules}
    save_tensors(path, network.state_dict(), header)


def load_checkpoint(path: str | Path, *, variant: Variant | None = None) -> LoadedCheckpoint:
    """The network of `save_checkpoint`, in float32 on the CPU, and its metadata.

    Where `variant` is given, the network must have been trained for the same rules, whatever their
    name. A universal network comes specialised for `variant`, which it then needs, but need not
    have been trained on. Raises OSError, and CheckpointError naming what is truncated, foreign,
    unknown, missing, of another shape or for other rules.
    """
    tensors, header = load_tensors(path)
    description = _describe(Path(path), header)
    if isinstance(description, UniversalDescription):
        if variant is None:
            raise CheckpointError(f"{path}: {_universal(description)}: say which game to play")
        universal = _universal_network(Path(path), tensors, description.config)
        return LoadedCheckpoint(universal.specialise(variant), description.metadata)
    if variant is not None and not description.is_for(variant):
        raise CheckpointError(
            f"{path}: a network for '{description.variant_name}' (rules "
            f"{description.variant_digest[:_DIGEST]}), not for '{variant.name}' (rules"
            f" {variant.digest})"
        )
    config = description.config
    if variant is not None:
        _check_board(Path(path), config, variant)
    _check_size(Path(path), tensors, _TOKEN, (TOKENS, config.channels), config)
    network = PolicyValueNet(config)
    check_tensors(Path(path), tensors, network.state_dict())
    network.load_state_dict(tensors)
    return LoadedCheckpoint(network, description.metadata)


def load_universal(path: str | Path) -> LoadedUniversal:
    """The universal network of `save_checkpoint`, in float32 on the CPU, and its metadata.

    Raises as `load_checkpoint`, and CheckpointError for a network of one game.
    """
    tensors, header = load_tensors(path)
    description = _describe(Path(path), header)
    if isinstance(description, Description):
        raise CheckpointError(
            f"{path}: a network for '{description.variant_name}' alone, not a universal one"
        )
    network = _universal_network(Path(path), tensors, description.config)
    return LoadedUniversal(network, description.metadata)


def read_description(path: str | Path) -> Description | UniversalDescription:
    """What a checkpoint says of itself, without its tensors. Raises as `load_checkpoint`."""
    return _describe(Path(path), read_metadata(path))


def variant_of(path: str | Path, name: str | None = None) -> Variant:
    """The game to use a checkpoint for: that of `name`, else the only one that it was trained on.

    Raises OSError, CheckpointError where a universal network was trained on several and none is
    named, or where an ordinary one is for other rules, and UnknownVariantError.
    """
    description = read_description(path)
    if isinstance(description, Description):
        variant = get_variant(name or description.variant_name)
        if name is not None and not description.is_for(variant):
            raise CheckpointError(f"{path}: a network for '{description.variant_name}', not {name}")
        return variant
    if name is None and len(description.trained_on) != 1:
        raise CheckpointError(f"{path}: {_universal(description)}: say which game to play")
    variant = get_variant(name or description.trained_on[0])
    if name is None and not description.is_for(variant):
        raise CheckpointError(f"{path}: the rules of {variant.name} have changed since")
    return variant


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Any safetensors file, for as long as its tensors are taken out; raises OSError, and
    CheckpointError for a file that is truncated or none."""
    # Python's own open first: its OSError names the file, whatever is wrong with the path.
    with open(path, "rb"):
        pass
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except CheckpointError:
        raise
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file ({error})") from None


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Tensor], Metadata]:
    with opened(path) as file:
        text = (file.metadata() or {}).get(_KEY)
        if text is None:
            raise CheckpointError(f"{path}: a safetensors file, but not one that Pawnscope wrote")
        try:
            metadata = parse_json(text)
        except ValueError as error:
            raise CheckpointError(f"{path}: damaged metadata ({error})") from None
        if not isinstance(metadata, dict):
            raise CheckpointError(f"{path}: damaged metadata (not an object)")
        # Cloned, because safetensors maps the file, which may not outlive the tensors.
        tensors = (
            {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if with_tensors
            else {}
        )
    refuse_faults(path, tensors)
    return with_current_names(tensors), metadata


def refuse_faults(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError, naming the tensor, for NaN or an infinity in one."""
    for name, tensor in tensors.items():
        fault = tensor_fault(tensor)
        if fault is not None:
            raise CheckpointError(f"{path}: tensor '{name}' is {fault}")


def _describe(path: Path, header: Metadata) -> Description | UniversalDescription:
    if "network" not in header and "universal" not in header:
        raise CheckpointError(f"{path}: holds no network (no field 'network')")
    check_format(path, header)
    try:
        return _all_games(path, header) if "universal" in header else _one_game(path, header)
    except CheckpointError:
        raise
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _one_game(path: Path, header: Metadata) -> Description:
    network, variant = header_field(path, header, "network"), header_field(path, header, "variant")
    for name in ("name", "digest", "ini"):
        if not isinstance(variant.get(name), str):
            raise CheckpointError(f"{path}: missing field 'variant.{name}'")
    config = NetworkConfig.from_dict(network)
    description = Description(
        config, variant["name"], variant["digest"], variant["ini"], checked_metadata(path, header)
    )
    if config.variant != description.variant_name:
        raise CheckpointError(
            f"{path}: a network for '{config.variant}' with the rules of"
            f" {quoted(description.variant_name)}"
        )
    known = _known_variant(config.variant)
    # Of rules that are not loaded, whoever loads the network for a game knows the board.
    if known is not None and description.is_for(known):
        _check_board(path, config, known)
    return description


def _known_variant(name: str) -> Variant | None:
    """None for rules that are not loaded."""
    with suppress(InputError):
        return get_variant(name)
    return None


def _check_board(path: Path, config: NetworkConfig, variant: Variant) -> None:
    """Raises CheckpointError for a network of another board or other promotions than the rules'."""
    wanted = NetworkConfig.for_variant(variant)
    for name in ("width", "height", "promotion_types", "clock_rule"):
        found, true = getattr(config, name), getattr(wanted, name)
        if found != true:
            raise CheckpointError(f"{path}: {name} = {found!r}, {variant.name} has {true!r}")


def _all_games(path: Path, header: Metadata) -> UniversalDescription:
    config = UniversalConfig.from_dict(header_field(path, header, "universal"))
    games = header.get("trained_on")
    if not isinstance(games, list) or not all(isinstance(name, str) for name in games):
        raise CheckpointError(f"{path}: missing field 'trained_on'")
    # Files of before they were written have none.
    digests = header_field(path, {"digests": {}} | header, "digests")
    if not all(isinstance(digest, str) for digest in digests.values()):
        raise CheckpointError(f"{path}: digests does not name a digest each")
    return UniversalDescription(config, tuple(games), digests, checked_metadata(path, header))


def _universal(description: UniversalDescription) -> str:
    games = textwrap.shorten(", ".join(description.trained_on) or "no game", 400, placeholder=" …")
    return f"a universal network, trained on {games}"


def _universal_network(
    path: Path, tensors: dict[str, Tensor], config: UniversalConfig
) -> UniversalNet:
    _check_size(path, tensors, _KIND, (KINDS, config.channels), config)
    network = UniversalNet(config)
    check_tensors(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return network


def header_field(path: Path, header: Metadata, name: str) -> Metadata:
    """The object of that name in a file's header; raises CheckpointError where there is none."""
    value = header.get(name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: missing field '{name}'")
    return value


def check_format(path: Path, header: Metadata) -> None:
    """Raises CheckpointError for a header of another format than this program's."""
    found = header.get("format")
    if type(found) is not int or found != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {quoted(found)}, this program reads {FORMAT}"
        )


_COUNTS: Final = ("round", "step")
_AMOUNTS: Final = ("seconds",)
"""What the program itself reads of a checkpoint's metadata; the rest is the caller's."""


def checked_metadata(path: Path, header: Metadata) -> Metadata:
    """The field "metadata"; raises CheckpointError where it is none, and for a count in it that is
    none."""
    metadata = header_field(path, header, "metadata")
    for name in (*_COUNTS, *_AMOUNTS):
        kinds = (int,) if name in _COUNTS else (int, float)
        value = metadata.get(name, 0)
        # The bound is what a float holds exactly, and what SQLite does.
        if type(value) not in kinds or not 0 <= value < 1 << 53 or not math.isfinite(value):
            raise CheckpointError(f"{path}: metadata.{name} = {quoted(value)} is no count")
    return metadata


def _check_size(
    path: Path,
    tensors: dict[str, Tensor],
    table: str,
    shape: tuple[int, ...],
    config: BuildConfig,
) -> None:
    """Every size of a configuration by a tensor that has it, before memory is asked for as a
    damaged one says.

    On torch's device "meta" the whole comparison would cost no memory, but a second of imports.
    """
    D, E, V = config.channels, config.policy_channels, config.value_channels
    shapes = {table: shape, "policy.query.weight": (E, D), "value.hidden.weight": (V, V)}
    last = f"trunk.blocks.{config.blocks - 1}."
    if config.blocks and not any(name.startswith(last) for name in tensors):
        raise CheckpointError(f"{path}: missing tensor '{last}…'")
    for block in range(config.blocks):
        name = f"trunk.blocks.{block}"
        if config.trunk == "residual":
            shapes[f"{name}.first.weight"] = (D, D, 3, 3)
            if config.excitation:
                shapes[f"{name}.excitation.down.weight"] = (config.squeeze, D)
        else:
            shapes[f"{name}.attention.out.weight"] = (D, D)
            if config.hidden:
                shapes[f"{name}.mlp.down.weight"] = (D, config.hidden)
    for name, wanted in shapes.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: missing tensor '{name}'")
        check_tensors(path, {name: tensors[name]}, {name: torch.empty(1).expand(wanted)})


def check_tensors(path: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raises CheckpointError, naming the tensor, for one that is missing, unknown or of another
    shape than expected."""
    for name in expected:
        if name not in tensors:
            raise CheckpointError(f"{path}: missing tensor '{name}'")
    for name, tensor in tensors.items():
        if name not in expected:
            raise CheckpointError(f"{path}: unknown tensor '{name}'")
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: tensor '{name}' is {_kind(tensor)}, not {_kind(expected[name])} as the "
                "configuration says"
            )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
