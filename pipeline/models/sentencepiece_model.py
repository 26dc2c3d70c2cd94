"""A sentencepiece model (`tokenizer.model`) as a fast tokenizer, where there is no tokenizer.json.

transformers reads such a file, too, but by the class of the model, whose rules need not be those of the file: with
other blanks, a text becomes other tokens than the model was trained on. Here the rules are the file's own, and what
comes of them is compared with sentencepiece itself.
"""

import json
from pathlib import Path
from typing import Any, cast

from pipeline.models.errors import ModelError

MODEL_FILE = "tokenizer.model"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
"""Types of pieces."""
BPE = 2
"""Of a trainer."""
SPACE = "▁"
TRIED = ("Once upon a time, in 1934: (a) test.", " two  blanks\nand a line\t", "é ü 日本 🦊 x", "don't stop  ", "")


def is_alone(folder: Path) -> bool:
    """Whether a folder's tokenizer is a sentencepiece model and nothing else."""
    return (folder / MODEL_FILE).is_file() and not (folder / "tokenizer.json").is_file()


def read_sentencepiece(folder: Path) -> Any:
    """The tokenizer of a folder as transformers would have it. Raises ModelError when it is none, or cannot be had."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    content = (folder / MODEL_FILE).read_bytes()
    try:
        reference = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise ModelError(f"{MODEL_FILE} is no sentencepiece model ({error})") from None
    model = cast(Any, sentencepiece_model_pb2).ModelProto.FromString(content)
    rust = _tokenizer(model)
    settings = _settings(folder)
    _add_further(rust, settings)
    _check(rust, reference)
    return _with_names(rust, model, settings)


def _tokenizer(model: Any) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    trainer, pieces = model.trainer_spec, model.pieces
    if trainer.model_type == BPE:
        vocabulary = {piece.piece: number for number, piece in enumerate(pieces)}
        made: Any = models.BPE(
            vocabulary,
            _merges(pieces),
            unk_token=pieces[trainer.unk_id].piece,
            fuse_unk=True,
            byte_fallback=trainer.byte_fallback,
        )
    else:
        scored = [(piece.piece, piece.score) for piece in pieces]
        made = models.Unigram(scored, unk_id=trainer.unk_id, byte_fallback=trainer.byte_fallback)
    rust = Tokenizer(made)
    rust.normalizer = normalizers.Sequence(_normalizers(model.normalizer_spec))
    blanks = [decoders.Strip(" ", 1, 0)] if model.normalizer_spec.add_dummy_prefix else []
    rust.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *blanks])
    own = [piece for piece in pieces if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)]
    rust.add_tokens([AddedToken(piece.piece, normalized=False, special=piece.type != USER_DEFINED) for piece in own])
    return rust


def _normalizers(spec: Any) -> list[Any]:
    from tokenizers import Regex, normalizers

    found: list[Any] = []
    if spec.precompiled_charsmap:
        found.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        found += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        found.append(normalizers.Prepend(SPACE))
    return [*found, normalizers.Replace(" ", SPACE)]


def _merges(pieces: Any) -> list[tuple[str, str]]:
    """The pairs of pieces that are a piece together, those of the highest score first."""
    scores = {piece.piece: piece.score for piece in pieces if piece.type in (NORMAL, USER_DEFINED)}
    numbers = {piece.piece: number for number, piece in enumerate(pieces)}
    merges = []
    for piece in sorted(scores, key=lambda piece: (-scores[piece], numbers[piece])):
        halves = ((piece[:place], piece[place:]) for place in range(1, len(piece)))
        pairs = [(left, right) for left, right in halves if left in scores and right in scores]
        merges += sorted(pairs, key=lambda pair: (numbers[pair[0]], numbers[pair[1]]))
    return merges


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{file.name} is no JSON ({error})") from None
    template = folder / "chat_template.jinja"
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    return settings


def _add_further(rust: Any, settings: dict[str, Any]) -> None:
    """Tokens behind the pieces, such as those of a chat, by their own ids."""
    from tokenizers import AddedToken

    added = {int(number): token for number, token in settings.get("added_tokens_decoder", {}).items()}
    for number, token in sorted(added.items()):
        special = bool(token.get("special", True))
        rust.add_tokens([AddedToken(token["content"], normalized=False, special=special)])
        if rust.token_to_id(token["content"]) != number:
            raise ModelError(f"tokenizer_config.json names {token['content']} as token {number}, which it cannot be")


def _check(rust: Any, reference: Any) -> None:
    """Raise ModelError unless plain texts are the tokens that sentencepiece makes of them."""
    plain = type(rust).from_str(rust.to_str())
    plain.encode_special_tokens = True
    for text in TRIED:
        if plain.encode(text, add_special_tokens=False).ids != reference.encode(text):
            raise ModelError(f"{MODEL_FILE} makes other tokens of {text!r} than can be made here")


def _with_names(rust: Any, model: Any, settings: dict[str, Any]) -> Any:
    """With the names of its special tokens, those of tokenizer_config.json before those of the model."""
    import transformers

    names = {}
    for name in ("bos", "eos", "unk"):
        number = getattr(model.trainer_spec, f"{name}_id")
        token = settings.get(f"{name}_token", model.pieces[number].piece if number >= 0 else None)
        names[f"{name}_token"] = token["content"] if isinstance(token, dict) else token
    pretrained = transformers.PreTrainedTokenizerFast(tokenizer_object=rust, **names)
    pretrained.chat_template = settings.get("chat_template")
    return pretrained
