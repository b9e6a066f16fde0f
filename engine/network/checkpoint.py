"""Networks on disk: the one module of `engine/network` that reads and writes files.

A checkpoint is a safetensors file. Its header holds, as one JSON object, what is needed to build
the network again and the rules that it was trained for:

    {"format": 1, "network": {…NetworkConfig…}, "metadata": {…the caller's: step, seed, …},
     "variant": {"name": …, "digest": …, "ini": …}}

A universal network has these fields in place of "network" and "variant":

    {"format": 1, "universal": {…UniversalConfig…}, "trained_on": ["gardner", …],
     "digests": {"gardner": …, …}, "metadata": {…}}

`save_tensors` and `load_tensors` write and read any tensors in the same way. A file is written
completely or not at all. NaN and infinities are refused both when writing and when reading, and
former names of tensors are read (`model/former_names.py`).

A file may come from anyone: everything that is read from one is checked first.
"""

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.finite import require_finite_tensors
from engine.network.model.config import NetworkConfig
from engine.network.model.former_names import with_current_names
from engine.network.model.network import Network
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.network.stored_json import parse_json
from engine.rules.errors import InputError, NotFiniteError, UnknownVariantError
from engine.rules.variant import Variant, get_variant
from engine.settings import quoted, shortened
from engine.system.files import write_whole

FORMAT: Final = 1
_KEY: Final = "pawnscope"
"""Key of our JSON object among safetensors' own metadata."""

Metadata = dict[str, Any]
N = TypeVar("N", bound=Network)


class CheckpointError(InputError):
    """A file that cannot be used as requested; names the file and the fault."""


class Description(NamedTuple):
    """The header of a network for one variant."""

    config: NetworkConfig
    variant_name: str
    variant_digest: str
    """`Variant.digest` of the rules that it was trained for."""
    variant_ini: str
    """`Variant.ini()`, enough to define the variant where it is unknown."""
    metadata: Metadata

    def is_for(self, variant: Variant) -> bool:
        """Whether it was trained for these rules, under any name."""
        return variant.digest == self.variant_digest


class UniversalDescription(NamedTuple):
    """The header of a universal network."""

    config: UniversalConfig
    trained_on: tuple[str, ...]
    """Names of the variants that it was trained on; it can play others, untrained."""
    digests: dict[str, str]
    """`Variant.digest` of their rules by name, where the file has it."""
    metadata: Metadata

    def is_for(self, variant: Variant) -> bool:
        """Whether it was trained on this variant, with the same rules where the file has them."""
        digest = self.digests.get(variant.name, variant.digest)
        return variant.name in self.trained_on and digest == variant.digest


class LoadedCheckpoint(NamedTuple, Generic[N]):
    """A network and the metadata of its file."""

    network: N
    metadata: Metadata


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor | npt.NDArray[np.generic]],
    metadata: Mapping[str, object],
) -> None:
    """Write tensors and JSON metadata to a safetensors file, completely or not at all.

    On failure (a full disk) an older file at `path` stays as it was. Raises OSError, and
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
    write_whole(Path(path), data)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], Metadata]:
    """The tensors, under today's names, and the metadata of `save_tensors`.

    Raises OSError, and CheckpointError for a file that is truncated, damaged or not ours, and for a
    tensor, by its name, that holds NaN or an infinity.
    """
    path = Path(path)
    with opened(path) as file:
        metadata = _metadata(path, file)
        # Cloned, because safetensors maps the file, which may be deleted before the tensors are.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    refuse_faults(path, tensors)
    return with_current_names(tensors), metadata


def read_metadata(path: str | Path) -> Metadata:
    """The metadata of `save_tensors`; reads only the header. Raises as `load_tensors`."""
    with opened(Path(path)) as file:
        return _metadata(Path(path), file)


def save_checkpoint(
    path: str | Path,
    network: PolicyValueNet | UniversalNet,
    *,
    metadata: Mapping[str, object],
    trained_on: Sequence[str] = (),
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write a network with its configuration, its variant's rules and the caller's metadata (JSON).

    A universal network is written with the names of the variants that it was `trained_on`, and the
    `digests` of their rules by name where they are known. Raises OSError, and UnknownVariantError
    where the configuration's variant is not loaded.
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


def load_checkpoint(
    path: str | Path, *, variant: Variant | None = None
) -> LoadedCheckpoint[PolicyValueNet]:
    """The network of `save_checkpoint`, in float32 on the CPU, and its metadata.

    Where `variant` is given, the network must have been trained for the same rules, under any name.
    A universal network is specialised for `variant`, which must then be given; it need not have
    been trained on it. Raises OSError, and CheckpointError naming what is truncated, foreign,
    unknown, missing, of another shape or for other rules.
    """
    path = Path(path)
    tensors, header = load_tensors(path)
    description = _describe(path, header)
    if isinstance(description, UniversalDescription):
        if variant is None:
            raise _no_variant(path, description)
        universal = check_and_load(path, tensors, UniversalNet, description.config)
        return LoadedCheckpoint(universal.specialise(variant), description.metadata)
    if variant is not None and not description.is_for(variant):
        raise CheckpointError(
            f"{path}: a network for '{description.variant_name}' (rules "
            f"{shortened(description.variant_digest)}), not for '{variant.name}' (rules"
            f" {variant.digest})"
        )
    if variant is not None:
        _check_board(path, description.config, variant)
    network = check_and_load(path, tensors, PolicyValueNet, description.config)
    return LoadedCheckpoint(network, description.metadata)


def load_universal(path: str | Path) -> LoadedCheckpoint[UniversalNet]:
    """The universal network of `save_checkpoint`, in float32 on the CPU, and its metadata.

    Raises as `load_checkpoint`, and CheckpointError for a network of one variant.
    """
    path = Path(path)
    tensors, header = load_tensors(path)
    description = _describe(path, header)
    if isinstance(description, Description):
        raise CheckpointError(
            f"{path}: a network for '{description.variant_name}' alone, not a universal one"
        )
    network = check_and_load(path, tensors, UniversalNet, description.config)
    return LoadedCheckpoint(network, description.metadata)


def read_description(path: str | Path) -> Description | UniversalDescription:
    """The header of a checkpoint, without its tensors. Raises as `load_checkpoint`."""
    return _describe(Path(path), read_metadata(path))


def variant_of(path: str | Path, name: str | None = None) -> Variant:
    """The variant to use a checkpoint for: `name`, else the only one that it was trained on.

    Raises OSError, UnknownVariantError, and CheckpointError where a universal network was trained
    on several variants and none is named, and where a network is for other rules.
    """
    description = read_description(path)
    if isinstance(description, Description):
        variant = get_variant(name or description.variant_name)
        if name is not None and not description.is_for(variant):
            raise CheckpointError(f"{path}: a network for '{description.variant_name}', not {name}")
        return variant
    if name is not None:
        return get_variant(name)
    if len(description.trained_on) != 1:
        raise _no_variant(Path(path), description)
    variant = get_variant(description.trained_on[0])
    if not description.is_for(variant):
        raise CheckpointError(f"{path}: the rules of {variant.name} have changed since")
    return variant


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Any safetensors file, open while the block reads it.

    Raises OSError, and CheckpointError for a file that is truncated or of another format.
    """
    # Python's own open first: its OSError names the file, whatever is wrong with the path.
    with open(path, "rb") as whole:
        if not whole.read(1):
            raise CheckpointError(f"{path}: truncated or not a safetensors file (it is empty)")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except CheckpointError:
        raise
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file ({error})") from None


def _metadata(path: Path, file: Any) -> Metadata:
    """Our JSON object in an open file."""
    text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one that Pawnscope wrote")
    try:
        metadata = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged metadata ({error})") from None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: damaged metadata (not an object)")
    return metadata


def kind_of_file(header: Metadata) -> str:
    """What a file of ours is, by its metadata, in words; "" where that is not known."""
    if "language" in header:
        return "a move language model"
    if "network" in header or "universal" in header:
        return "a policy/value network"
    if "learner" in str(header.get("format")):
        return "the state of a learner (its networks are in checkpoints/)"
    if {"positions", "games"} <= header.keys():
        return "games of self-play"
    return ""


def refuse_faults(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError, naming the tensor, for NaN or an infinity in one."""
    try:
        require_finite_tensors(tensors, f"{path}: tensor")
    except NotFiniteError as error:
        raise CheckpointError(str(error)) from None


def _describe(path: Path, header: Metadata) -> Description | UniversalDescription:
    if "network" not in header and "universal" not in header:
        kind = kind_of_file(header)
        raise CheckpointError(
            f"{path}: {kind}, and a policy/value network is needed"
            if kind
            else f"{path}: holds no network (no field 'network')"
        )
    check_format(path, header)
    try:
        return _of_all(path, header) if "universal" in header else _of_one(path, header)
    except CheckpointError:
        raise
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _of_one(path: Path, header: Metadata) -> Description:
    """The description of a network for one variant."""
    network, rules = header_field(path, header, "network"), header_rules(path, header)
    config = NetworkConfig.from_dict(network)
    if config.variant != rules[0]:
        raise CheckpointError(
            f"{path}: a network for '{config.variant}' with the rules of {quoted(rules[0])}"
        )
    description = Description(config, *rules, checked_metadata(path, header))
    try:
        known = get_variant(config.variant)
    except UnknownVariantError:
        # `load_checkpoint` checks the board once the caller has loaded the rules.
        return description
    if description.is_for(known):
        _check_board(path, config, known)
    return description


def _check_board(path: Path, config: NetworkConfig, variant: Variant) -> None:
    """Raises CheckpointError for a network of another board or other promotions than the rules'."""
    wanted = NetworkConfig.for_variant(variant)
    for name in ("width", "height", "promotion_types", "clock_rule"):
        found, true = getattr(config, name), getattr(wanted, name)
        if found != true:
            raise CheckpointError(f"{path}: {name} = {found!r}, {variant.name} has {true!r}")


def _of_all(path: Path, header: Metadata) -> UniversalDescription:
    """The description of a universal network."""
    config = UniversalConfig.from_dict(header_field(path, header, "universal"))
    names = header.get("trained_on")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: missing field 'trained_on'")
    # The first files have no digests.
    digests = header_field(path, {"digests": {}} | header, "digests")
    if not all(isinstance(digest, str) for digest in digests.values()):
        raise CheckpointError(f"{path}: a value of 'digests' is not a text")
    return UniversalDescription(config, tuple(names), digests, checked_metadata(path, header))


def _no_variant(path: Path, description: UniversalDescription) -> CheckpointError:
    names = ", ".join(description.trained_on) or "no variant"
    names = textwrap.shorten(names, 400, placeholder=" …")
    return CheckpointError(
        f"{path}: a universal network, trained on {names}: name the variant to play"
    )


def header_field(path: Path, header: Metadata, name: str) -> Metadata:
    """The object of that name in a file's header; raises CheckpointError where there is none."""
    value = header.get(name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: missing field '{name}'")
    return value


def header_rules(path: Path, header: Metadata) -> tuple[str, str, str]:
    """Name, digest and ini of the field "variant"; raises CheckpointError where one is missing."""
    variant = header_field(path, header, "variant")
    for name in ("name", "digest", "ini"):
        if not isinstance(variant.get(name), str):
            raise CheckpointError(f"{path}: missing field 'variant.{name}'")
    return variant["name"], variant["digest"], variant["ini"]


def check_format(path: Path, header: Metadata) -> None:
    """Raises CheckpointError for a header of another format than this program's."""
    found = header.get("format")
    if type(found) is not int or found != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {quoted(found)}, this program reads {FORMAT}"
        )


_COUNTS: Final[dict[str, tuple[type, ...]]] = {
    "round": (int,),
    "step": (int,),
    "seconds": (int, float),
}
"""Metadata that the program itself reads, and its types; the rest is the caller's."""


def checked_metadata(path: Path, header: Metadata) -> Metadata:
    """The field "metadata"; raises CheckpointError where it is missing or holds a wrong count."""
    metadata = header_field(path, header, "metadata")
    for name, types in _COUNTS.items():
        value = metadata.get(name, 0)
        # A float and SQLite hold whole numbers below this bound exactly.
        if type(value) not in types or not 0 <= value < 1 << 53 or not math.isfinite(value):
            raise CheckpointError(f"{path}: metadata.{name} = {quoted(value)} is no count")
    return metadata


def check_and_load(path: Path, tensors: dict[str, Tensor], network: type[N], config: Any) -> N:
    """The network of a configuration with the tensors of a file; raises as `check_tensors`.

    Shapes are compared first, without memory: a damaged configuration may ask for any amount.
    """
    check_tensors(path, tensors, network.without_memory(config).state_dict())
    built = network(config)
    built.load_state_dict(tensors)
    return built


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
