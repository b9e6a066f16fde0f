"""Move language models on disk, in the same format as networks (`engine/network/checkpoint.py`).

The header: {"format": 1, "language": {…LanguageConfig…}, "tokenizer": {"digest": …, "words": …},
"variant": {"name": …, "digest": …, "ini": …}, "metadata": {…the caller's…}}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engine.network import checkpoint
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import SPECIAL, MoveTokenizer
from engine.network.model.config import LanguageConfig
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.settings import quoted


class LanguageDescription(NamedTuple):
    """The header of a language model's file."""

    config: LanguageConfig
    tokenizer: MoveTokenizer
    variant_name: str
    variant_digest: str
    metadata: checkpoint.Metadata


class LoadedLanguage(NamedTuple):
    """A language model, its vocabulary, and the metadata of its file."""

    model: LanguageModel
    tokenizer: MoveTokenizer
    metadata: checkpoint.Metadata


def save_language(
    path: str | Path,
    model: LanguageModel,
    tokenizer: MoveTokenizer,
    variant: Variant,
    *,
    metadata: Mapping[str, object],
) -> None:
    """Write a model of the variant's games, completely or not at all; raises OSError."""
    header = {
        "format": checkpoint.FORMAT,
        "language": model.config.to_dict(),
        "tokenizer": {"digest": tokenizer.digest, "words": " ".join(tokenizer.texts)},
        "variant": {"name": variant.name, "digest": variant.digest, "ini": variant.ini()},
        "metadata": dict(metadata),
    }
    checkpoint.save_tensors(path, model.state_dict(), header)


def load_language(path: str | Path, *, variant: Variant | None = None) -> LoadedLanguage:
    """The model of `save_language`, in float32 on the CPU, its vocabulary and metadata.

    Where `variant` is given, the file must have the same rules. Raises OSError, and
    CheckpointError, naming what is truncated, unknown, missing, of another shape or different.
    """
    tensors, header = checkpoint.load_tensors(path)
    found = _describe(Path(path), header)
    if variant is not None and variant.digest != found.variant_digest:
        raise checkpoint.CheckpointError(
            f"{path}: a language model of {quoted(found.variant_name)}"
            f" (rules {quoted(found.variant_digest)}),"
            f" not of '{variant.name}' (rules {variant.digest})"
        )
    model = checkpoint.check_and_load(Path(path), tensors, LanguageModel, found.config)
    return LoadedLanguage(model, found.tokenizer, found.metadata)


def read_language(path: str | Path) -> LanguageDescription:
    """The header of a file, without its tensors. Raises as `load_language`."""
    return _describe(Path(path), checkpoint.read_metadata(path))


def _describe(path: Path, header: checkpoint.Metadata) -> LanguageDescription:
    if "language" not in header:
        kind = checkpoint.kind_of_file(header)
        raise checkpoint.CheckpointError(
            f"{path}: {kind}, and a move language model is needed"
            if kind
            else f"{path}: holds no language model (no field 'language')"
        )
    checkpoint.check_format(path, header)
    language = checkpoint.header_field(path, header, "language")
    name, digest, _ = checkpoint.header_rules(path, header)
    tokenizer = _tokenizer(path, checkpoint.header_field(path, header, "tokenizer"))
    try:
        config = LanguageConfig.from_dict(language)
    except InputError as error:
        raise checkpoint.CheckpointError(f"{path}: {error}") from None
    if config.vocabulary != len(tokenizer):
        raise checkpoint.CheckpointError(
            f"{path}: vocabulary = {config.vocabulary}, the tokenizer has {len(tokenizer)} tokens"
        )
    return LanguageDescription(
        config, tokenizer, name, digest, checkpoint.checked_metadata(path, header)
    )


def _tokenizer(path: Path, values: checkpoint.Metadata) -> MoveTokenizer:
    words = values.get("words")
    if not isinstance(words, str):
        raise checkpoint.CheckpointError(f"{path}: missing field 'tokenizer.words'")
    try:
        tokenizer = MoveTokenizer(words.split()[len(SPECIAL) :])
    except InputError as error:
        raise checkpoint.CheckpointError(f"{path}: tokenizer.words: {str(error)[:200]}") from None
    if tokenizer.digest != values.get("digest"):
        raise checkpoint.CheckpointError(
            f"{path}: tokenizer.digest = {quoted(values.get('digest'))}, its words have"
            f" {tokenizer.digest!r}"
        )
    return tokenizer
