"""The tokenizer in a folder of GPT-2, in the layouts of Hugging Face, with the tokenizers library.

    tokenizer.json            the whole tokenizer, or
    vocab.json, merges.txt    its tokens, and the pairs that are merged
    added_tokens.json         further tokens with their numbers
    special_tokens_map.json   which tokens are no text: bos_token, eos_token, …
    tokenizer_config.json     the same two (added_tokens_decoder), add_prefix_space, add_bos_token

What these files say of tokens is followed, or refused with the file's name and the key: a token
with another number than the model's gives text that looks right and is not.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.network.checkpoint import CheckpointError
from engine.network.stored_json import parse_json
from engine.rules.errors import InputError
from engine.settings import shortened
from scripts.extras import require_extra

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

END_OF_TEXT: Final = "<|endoftext|>"
"""GPT-2's only special token: it ends a text and begins the next."""
_WHOLE: Final = "tokenizer.json"
_VOCABULARY: Final = "vocab.json"
_MERGES: Final = "merges.txt"
_ADDED: Final = "added_tokens.json"
_SPECIAL: Final = "special_tokens_map.json"
_CONFIG: Final = "tokenizer_config.json"
_OTHER_LAYOUTS: Final = (
    *("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "tekken.json"),
    *("vocab.txt", "vocab.bpe", "encoder.json", "bpe.codes"),
)
"""Tokenizers that are not read."""
_CLASSES: Final = (
    *("GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
)
_UNSUPPORTED: Final = ("add_eos_token", "do_lower_case", "split_special_tokens", "auto_map")
"""Keys of tokenizer_config.json that would change tokens, unless they are off."""
_FLAGS: Final = {"lstrip", "rstrip", "normalized", "single_word", "special"}
"""Of an added token."""
_LISTS: Final = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, kw_only=True)
class _Added:
    """A token beside the vocabulary, and the file that adds it."""

    number: int
    token: "AddedToken"
    path: Path


@dataclass(frozen=True, kw_only=True)
class TextTokenizer:
    """A tokenizer, and what its folder says beside it."""

    tokenizer: "Tokenizer"
    # The token before every prompt; None for none.
    first: int | None
    # The token that ends a text as far as these files say; None where they name none.
    end: int | None

    @property
    def size(self) -> int:
        """One more than the largest number of a token."""
        return max(self.tokenizer.get_vocab().values(), default=-1) + 1


def load_tokenizer(folder: Path) -> TextTokenizer:
    """Read the tokenizer of a folder.

    Raises CheckpointError, naming the file that is missing, damaged or unsupported, and InputError
    where the package `tokenizers` is not installed.
    """
    require_extra("--gpt2", "text", "tokenizers")
    settings = _object(folder / _CONFIG)
    _refuse_unsupported(folder, settings)
    tokenizer = _read(folder, settings)
    specials = _special_tokens(folder, settings)
    for added in _added_tokens(folder, settings, {text for text, _ in specials.values()}):
        _add(tokenizer, added)
    _mark_special(tokenizer, specials)
    # The whole prompt is encoded, and nothing else.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    first, end = (
        tokenizer.token_to_id(specials[name][0] if name in specials else END_OF_TEXT)
        for name in ("bos_token", "eos_token")
    )
    if not settings.get("add_bos_token"):
        first = None
    elif first is None:
        raise _refusal(folder / _CONFIG, settings, "add_bos_token", "there is no such token")
    return TextTokenizer(tokenizer=tokenizer, first=first, end=end)


def encode(text_tokenizer: TextTokenizer, prompt: str, start: int | None) -> list[int]:
    """The tokens of a prompt; `start` for a prompt without any.

    Raises InputError for a prompt that is not Unicode, or that has no tokens where there is no
    start.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(f"--prompt {prompt!r}: not UTF-8") from None
    tokens: list[int] = text_tokenizer.tokenizer.encode(prompt, add_special_tokens=False).ids
    if text_tokenizer.first is not None:
        return [text_tokenizer.first, *tokens]
    if tokens:
        return tokens
    if start is None:
        raise InputError(
            f"--prompt {prompt!r}: has no tokens, and the tokenizer no {END_OF_TEXT} to begin from"
        )
    return [start]


def pieces(tokenizer: "Tokenizer", tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come, in whole characters: a token may be part of one.

    Bytes that are no character become U+FFFD. The pieces together equal the tokenizer's text of all
    tokens at once.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        piece = stream.step(tokenizer, token)
        if piece is not None:
            pending.clear()
            yield piece
    yield tokenizer.decode(pending)  # the incomplete character at the end, if there is one


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file; raises CheckpointError."""
    if not path.exists():
        return {}
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return values


def _refusal(path: Path, values: Mapping[str, Any], key: str, problem: str) -> CheckpointError:
    return CheckpointError(f"{path}: {key} = {shortened(json.dumps(values[key]))}: {problem}")


def _refuse_unsupported(folder: Path, settings: Mapping[str, Any]) -> None:
    whole = (folder / _WHOLE).is_file()
    parts = all((folder / name).is_file() for name in (_VOCABULARY, _MERGES))
    others = [name for name in _OTHER_LAYOUTS if (folder / name).exists()]
    if not whole and not parts:
        also = f"; {', '.join(others)}: not supported" if others else ""
        raise CheckpointError(
            f"{folder}: holds no {_WHOLE}, nor {_VOCABULARY} with {_MERGES}{also}"
        )
    if not whole and others:
        raise CheckpointError(f"{folder / others[0]}: not supported; {_VOCABULARY} may not count")
    for key in _UNSUPPORTED:
        if settings.get(key):
            raise _refusal(folder / _CONFIG, settings, key, "not supported")
    kind = settings.get("tokenizer_class")
    if not whole and kind is not None and kind not in _CLASSES:
        raise _refusal(folder / _CONFIG, settings, "tokenizer_class", f"not {_CLASSES[0]}")


def _read(folder: Path, settings: Mapping[str, Any]) -> "Tokenizer":
    """The tokenizer without what the smaller files add."""
    import tokenizers
    from tokenizers import pre_tokenizers

    whole, vocabulary, merges = (folder / name for name in (_WHOLE, _VOCABULARY, _MERGES))
    prefix = settings.get("add_prefix_space", False)
    try:
        if whole.is_file():
            tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(whole))
        else:
            pairs = tokenizers.ByteLevelBPETokenizer.from_file(
                str(vocabulary), str(merges), add_prefix_space=bool(prefix)
            )
            return tokenizers.Tokenizer.from_str(pairs.to_str())
    except Exception as error:  # the library raises no narrower class
        read = whole if whole.is_file() else f"{vocabulary} or {merges.name}"
        raise CheckpointError(f"{read}: not a tokenizer ({error})") from None
    _compare(folder, tokenizer)
    splits = tokenizer.pre_tokenizer
    if isinstance(splits, pre_tokenizers.ByteLevel):
        if "add_prefix_space" in settings:
            splits.add_prefix_space = bool(prefix)
    elif prefix:
        raise _refusal(
            folder / _CONFIG, settings, "add_prefix_space", f"{_WHOLE} splits text in another way"
        )
    return tokenizer


def _compare(folder: Path, tokenizer: "Tokenizer") -> None:
    """Refuse a vocab.json of other tokens than those of tokenizer.json beside it."""
    theirs, ours = _object(folder / _VOCABULARY), tokenizer.get_vocab()
    for token, number in theirs.items():
        if ours.get(token) != number:
            raise CheckpointError(
                f"{folder / _VOCABULARY}: {shortened(json.dumps(token))} ="
                f" {shortened(json.dumps(number))}, in {_WHOLE} {json.dumps(ours.get(token))}"
            )


def _special_tokens(folder: Path, settings: Mapping[str, Any]) -> dict[str, tuple[str, Path]]:
    """The special tokens, each with the file that names it, by their roles, as bos_token; those of
    a list by numbered ones."""
    found: dict[str, tuple[str, Path]] = {}
    for path, values in (
        (folder / _CONFIG, settings),
        (folder / _SPECIAL, _object(folder / _SPECIAL)),
    ):
        for key, value in values.items():
            if key.endswith("_token") and isinstance(value, (str, dict)):
                found[key] = _content(path, values, key, value), path
            elif key in _LISTS and isinstance(value, (list, dict)):
                # A dictionary gives them names, which do not matter here.
                each_of = value.values() if isinstance(value, dict) else value
                for place, each in enumerate(each_of):
                    found[f"{key}[{place}]"] = _content(path, values, key, each), path
    return found


def _content(path: Path, values: Mapping[str, Any], key: str, value: object) -> str:
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise _refusal(path, values, key, "not a token")
    return text


def _added_tokens(folder: Path, settings: Mapping[str, Any], specials: set[str]) -> list[_Added]:
    """The tokens that stand beside the vocabulary, in the order of their numbers."""
    from tokenizers import AddedToken

    found: dict[int, _Added] = {}
    path = folder / _ADDED
    for text, number in _object(path).items():
        if type(number) is not int or number in found:
            raise CheckpointError(f"{path}: {text!r} = {json.dumps(number)}: not a token's number")
        special = text in specials
        token = AddedToken(text, special=special, normalized=not special)
        found[number] = _Added(number=number, token=token, path=path)
    path = folder / _CONFIG
    decoder = settings.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise _refusal(path, settings, "added_tokens_decoder", "not tokens by their numbers")
    for key, value in decoder.items():
        flags = dict(value) if isinstance(value, dict) else {}
        text = flags.pop("content", None)
        flags.pop("__type", None)
        known = flags.keys() <= _FLAGS and all(type(flag) is bool for flag in flags.values())
        if not isinstance(text, str) or not known or not re.fullmatch(r"\d{1,9}", key):
            raise CheckpointError(
                f"{path}: added_tokens_decoder: {shortened(json.dumps({key: value}))}: not a token"
            )
        token, number = AddedToken(text, **flags), int(key)
        if number in found and found[number].token.content != text:
            raise CheckpointError(f"{path}: {number} is {text!r}, in {_ADDED} another token")
        found[number] = _Added(number=number, token=token, path=path)
    return [found[number] for number in sorted(found)]


def _add(tokenizer: "Tokenizer", added: _Added) -> None:
    """Give a token its number; raises CheckpointError where it has or would get another one."""
    text = added.token.content
    has = tokenizer.token_to_id(text)
    if has is None:
        has = max(tokenizer.get_vocab().values(), default=-1) + 1
    if has != added.number:
        raise CheckpointError(
            f"{added.path}: {text!r} = {added.number}: beside the vocabulary it would be {has}"
        )
    (tokenizer.add_special_tokens if added.token.special else tokenizer.add_tokens)([added.token])


def _mark_special(tokenizer: "Tokenizer", specials: Mapping[str, tuple[str, Path]]) -> None:
    """Special tokens are found in a prompt as a whole, and are no part of a text."""
    known = {
        token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special
    }
    for role, (text, path) in {"": (END_OF_TEXT, Path()), **specials}.items():
        if text in known:
            continue
        if tokenizer.token_to_id(text) is not None:
            tokenizer.add_special_tokens([text])
        elif role not in ("", "pad_token"):
            # Padding is never read or written here.
            raise CheckpointError(f"{path}: {role} = {text!r}: not in the vocabulary")
